package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/graftlinux/graft/internal/sign"
)

// maxKeyFile is the size of a file with a key, a password or a token, in bytes.
const maxKeyFile = 64 << 10

func newKeysSigning(s Streams) *cobra.Command {
	var dir, prefix, password string
	cmd := &cobra.Command{
		Use:   "signing",
		Short: "Make a key pair to sign images with",
		Long: `Make a key pair to sign images with, as cosign generate-key-pair does: an ECDSA
P-256 key, encrypted with a password, and its public half. The password is in
COSIGN_PASSWORD (it may be empty), in --password-file, or is asked for.

Nothing that is there is overwritten. The answer on stdout is the names of the
files.`,
		Example: `  graft keys generate signing -o keys
  graft sign --key keys/cosign.key registry.example/gvisor:v1
  graft verify --key keys/cosign.pub --insecure-ignore-tlog registry.example/gvisor:v1`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "directory for the files")
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "cosign", "name of the files, before .key and .pub")
	cmd.Flags().StringVar(&password, "password-file", "", "file with the password of the key")
	cmd.RunE = func(*cobra.Command, []string) error {
		secret, err := newPassword(s, password)
		if err != nil {
			return err
		}
		private, public, err := sign.GenerateKey(secret)
		if err != nil {
			return err
		}
		return writeKeyPair(s, filepath.Join(dir, prefix), private, public)
	}
	return cmd
}

func writeKeyPair(s Streams, prefix string, private, public []byte) error {
	if err := os.MkdirAll(filepath.Dir(prefix), 0o777); err != nil {
		return err
	}
	err := writeNew(prefix+".key", private, 0o600)
	if err == nil {
		if err = writeNew(prefix+".pub", public, 0o644); err != nil {
			err = errors.Join(err, os.Remove(prefix+".key"))
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return withCode(exitInvalid, err, "keys are never overwritten: name another directory with -o, or --output-key-prefix")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s.key\n%s.pub\n", prefix, prefix)
	return nil
}

// writeNew writes a file that must not be there, and leaves none behind if it
// fails.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// keyPassword is the password of a key: from a file, the environment, or a
// person.
func keyPassword(s Streams, file, prompt string) ([]byte, error) {
	if file != "" {
		data, err := readInput(nil, file, maxKeyFile)
		return bytes.TrimRight(data, "\r\n"), err
	}
	if p, ok := os.LookupEnv("COSIGN_PASSWORD"); ok {
		return []byte(p), nil
	}
	in, ok := s.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, withCode(exitInvalid, errors.New("the key needs a password, and nobody is there to ask"),
			"COSIGN_PASSWORD holds it, or a file that --password-file names")
	}
	fmt.Fprint(s.Err, prompt)
	defer fmt.Fprintln(s.Err)
	return term.ReadPassword(int(in.Fd()))
}

// newPassword asks a person twice.
func newPassword(s Streams, file string) ([]byte, error) {
	first, err := keyPassword(s, file, "Password of the new key: ")
	if _, set := os.LookupEnv("COSIGN_PASSWORD"); err != nil || file != "" || set {
		return first, err
	}
	again, err := keyPassword(s, file, "The same password again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, withCode(exitInvalid, errors.New("the passwords differ"))
	}
	return first, nil
}
