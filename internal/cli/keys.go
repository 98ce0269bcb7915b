package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/secureboot"
)

func newKeys(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make keys for boot assets and images",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	generate := &cobra.Command{
		Use:   "generate",
		Short: "Make new keys",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	generate.AddCommand(newKeysSecureBoot(s), newKeysSigning(s))
	cmd.AddCommand(generate)
	return cmd
}

// keyYears is how long a certificate is valid, as those of talosctl are.
const keyYears = 10

func newKeysSecureBoot(s Streams) *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{
		Use:   "secureboot",
		Short: "Make the keys of Secure Boot and of disk encryption with a TPM",
		Long: `Make two keys. One signs what firmware starts; its certificate is self-signed,
and PK.auth, KEK.auth and db.auth enrol it in firmware that is in setup mode.
The other signs which states of the machine its TPM may unlock disks in.

The names are those that Talos' imager looks for below /secureboot. Nothing that
is there is overwritten. Keep the *-key.pem files: who has them can sign what
your machines start, and without them nothing new will start.`,
		Example: `  graft keys generate secureboot -o _out/secureboot
  graft image secureboot-iso --base registry.example/imager:v1.14.0 --secureboot-keys _out/secureboot`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "_out/secureboot", "directory for the files")
	cmd.Flags().StringVar(&name, "common-name", "graft UKI signing key", "name in the certificate")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		now := time.Now()
		files, err := secureboot.GenerateKeys(cmd.Context(), dir, name, now, now.AddDate(keyYears, 0, 0))
		if errors.Is(err, fs.ErrExist) {
			return withCode(exitInvalid, err, "keys are never overwritten: name another directory with -o")
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			fmt.Fprintln(s.Out, filepath.Join(dir, f))
		}
		return nil
	}
	return cmd
}
