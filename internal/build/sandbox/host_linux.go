package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Support is what a machine can do.
type Support struct {
	// Overlay says that layers can be stacked. If not, commands run in copies, as
	// Config.Root.
	Overlay bool
	Reason  error // why not; a *HostError if something can be done about it
}

// Probe tries what this machine allows, with files in a directory like that which
// Config.Upper will be in: not every file system can carry an overlay. An error,
// a *HostError, says that commands cannot be run at all.
func Probe(ctx context.Context, dir string) (Support, error) {
	dir, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return Support{}, fmt.Errorf("finding out what this machine allows: %w", err)
	}
	defer func() { _ = removeAll(dir) }() // the directory is for scraps
	s, err := probeSpec(dir)
	if err != nil {
		return Support{}, fmt.Errorf("finding out what this machine allows: %w", err)
	}
	_, reason := run(ctx, s)
	if reason == nil {
		return Support{Overlay: true}, nil
	}
	s.Root, s.Lower, s.Upper, s.Work = s.Lower[0], nil, "", ""
	if _, err := run(ctx, s); err != nil {
		return Support{}, err
	}
	return Support{Reason: copyReason(reason)}, nil
}

// copyReason has another hint than one that is about running commands at all.
func copyReason(err error) error {
	var host *HostError
	if errors.As(err, &host) && !slices.Contains(host.Hints, engineHint) {
		return host
	}
	return &HostError{Err: err, Hints: []string{"keep the cache (--cache-dir) on a local disk with ext4, xfs or btrfs, or in a tmpfs: copies take time and space"}}
}

// probeSpec has a layer with what probeRoot wants.
func probeSpec(dir string) (spec, error) {
	dir, err := filepath.Abs(dir)
	lower, upper, work := filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	err = errors.Join(err,
		os.MkdirAll(filepath.Join(lower, "dir", "sub"), 0o755),
		os.WriteFile(filepath.Join(lower, "file"), nil, 0o644),
		os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755))
	c := Config{Lower: []string{lower}, Upper: upper, Work: work, Args: []string{"a probe"}}
	return spec{Config: c, Probe: true}, err
}

// probeRoot does in a root what takes the most of an overlay: removing what is
// in a layer below, and replacing a directory.
func probeRoot() error {
	err := errors.Join(os.Remove("/file"), os.RemoveAll("/dir"), os.Mkdir("/dir", 0o755))
	if entries, _ := os.ReadDir("/dir"); len(entries) > 0 {
		err = errors.Join(err, errors.New("the overlay does not replace directories (extended attributes may be missing)"))
	}
	if err != nil {
		return fmt.Errorf("trying an overlay: %w", err)
	}
	return nil
}

// hostError adds what a person can do about an error that the machine is the
// cause of.
func hostError(err error) error {
	h := &HostError{Err: err}
	for _, o := range obstacles {
		if o.inTheWay(err) {
			h.Hints = append(h.Hints, o.hint())
		}
	}
	if len(h.Hints) == 0 {
		h.Hints = []string{engineHint}
	}
	return h
}

// byHost says whether an error is one with which kernels refuse what sandboxes
// need.
func byHost(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENODEV, unix.ENOSYS, unix.ENOSPC, unix.EUSERS, unix.EOPNOTSUPP},
		func(e unix.Errno) bool { return errors.Is(err, e) })
}

const engineHint = "build as root, or with a BuildKit daemon (--engine buildkit://ADDRESS)"

// obstacle is a reason for which machines do not allow sandboxes.
type obstacle struct {
	inTheWay func(err error) bool
	hint     func() string
}

var obstacles = []obstacle{
	{
		inTheWay: func(error) bool { return missing("/proc/self/ns/user") },
		hint:     fixed("the kernel is built without user namespaces (CONFIG_USER_NS): use another kernel, or a BuildKit daemon"),
	},
	{
		inTheWay: func(error) bool { return sysctl("user/max_user_namespaces") == "0" },
		hint:     fixed("user namespaces are turned off; allow them:\n  sudo sysctl -w user.max_user_namespaces=15000\nand to keep that:\n  echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/99-graft.conf"),
	},
	{
		inTheWay: func(err error) bool {
			return errors.Is(err, unix.ENOSPC) && sysctl("user/max_user_namespaces") != "0"
		},
		hint: fixed("a limit on namespaces is reached: see sysctl user.max_user_namespaces, user.max_mnt_namespaces, user.max_pid_namespaces and user.max_net_namespaces, here and on the host of a container"),
	},
	{
		inTheWay: func(error) bool { return sysctl("kernel/unprivileged_userns_clone") == "0" && os.Geteuid() != 0 },
		hint:     fixed("only root may make user namespaces; allow it to all:\n  sudo sysctl -w kernel.unprivileged_userns_clone=1\nand to keep that:\n  echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/99-graft.conf"),
	},
	{
		inTheWay: func(err error) bool {
			return sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" && os.Geteuid() != 0 && denied(err)
		},
		hint: appArmorHint,
	},
	{
		inTheWay: func(err error) bool { return (filtered() || confined() || maskedProc()) && denied(err) },
		hint:     fixed(containerHint),
	},
	{
		inTheWay: func(err error) bool { return chrooted() && denied(err) },
		hint:     fixed("the kernel makes no user namespaces for a process in a chroot: run graft outside of it"),
	},
	{
		inTheWay: func(err error) bool { return errors.Is(err, unix.ENODEV) && !overlayLoaded() },
		hint:     fixed("the kernel has no overlay file system, or has not loaded it:\n  sudo modprobe overlay"),
	},
	{
		inTheWay: func(err error) bool { return errors.Is(err, unix.EINVAL) && tooOld() },
		hint:     fixed("Linux 5.11 is the first that mounts overlays in a user namespace: use a newer kernel"),
	},
}

func fixed(s string) func() string { return func() string { return s } }

const containerHint = `graft runs in a container whose filter of system calls does not allow namespaces, or whose /proc is masked; start that with
  docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined …
or
  podman run --security-opt seccomp=unconfined --security-opt unmask=ALL …
or, in Kubernetes, with procMount: Unmasked and seccompProfile: {type: Unconfined} in a pod with hostUsers: false`

// appArmorHint has the profile for the file that this program is.
func appArmorHint() string {
	self, err := os.Executable()
	if err != nil {
		self = "/usr/local/bin/graft"
	}
	return fmt.Sprintf(`AppArmor does not allow user namespaces to this program; allow them, as root:
  cat > /etc/apparmor.d/graft <<'END'
  abi <abi/4.0>,
  include <tunables/global>
  profile graft %q flags=(unconfined) {
    userns,
  }
  END
  apparmor_parser -r /etc/apparmor.d/graft
or allow them to all programs:
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, self)
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, os.ErrNotExist)
}

// sysctl is "" if the kernel does not have it.
func sysctl(name string) string {
	data, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(data))
}

func denied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// filtered says whether system calls of this process are filtered, as in most
// containers.
func filtered() bool {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	return err == nil && mode != 0
}

// confined says whether AppArmor holds this process, as it does in Docker.
func confined() bool {
	data, _ := os.ReadFile("/proc/self/attr/current")
	return strings.HasSuffix(strings.TrimSpace(string(data)), "(enforce)")
}

// maskedProc says whether something is mounted over parts of /proc, as in most
// containers: the kernel gives no fresh one then.
func maskedProc() bool {
	return slices.ContainsFunc(mountPoints(), func(at string) bool {
		return strings.HasPrefix(at, "/proc/") && at != "/proc/sys/fs/binfmt_misc"
	})
}

// chrooted says whether the root of this process is none that was mounted.
func chrooted() bool {
	points := mountPoints()
	return len(points) > 0 && !slices.Contains(points, "/")
}

// mountPoints that this process sees.
func mountPoints() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, fields[4])
		}
	}
	return points
}

func overlayLoaded() bool {
	data, _ := os.ReadFile("/proc/filesystems")
	return strings.Contains(string(data), "\toverlay\n")
}

// tooOld says whether the kernel is older than 5.11.
func tooOld() bool {
	var name unix.Utsname
	var major, minor int
	if unix.Uname(&name) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 5 || major == 5 && minor < 11
}
