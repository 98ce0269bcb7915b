package boot

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long an error stays on the screen before the kernel panics,
// which may restart the machine (panic= on its command line).
const grace = 5 * time.Second

// Run boots: it ends in the init of the root filesystem, or in a kernel panic.
func Run() {
	m := &machine{started: time.Now(), log: &log{device: "/dev/kmsg"}}
	if os.Getpid() != 1 {
		os.Stderr.WriteString("graft-init: this is the first process of an initramfs, and does nothing elsewhere\n")
		os.Exit(1)
	}
	m.log.fatal(m.boot())
	unix.Sync()
	time.Sleep(grace)
	os.Exit(1) // the kernel panics when its first process ends
}

// machine is what steps share.
type machine struct {
	log     *log
	started time.Time
	layers  int
	bound   []os.FileInfo // sources of bind mounts
}

// action is a Step as Linux carries it out.
type action interface {
	Step
	run(*machine) error
}

// boot returns only if it failed.
func (m *machine) boot() error {
	plan, err := m.plan()
	if err != nil {
		return err
	}
	return m.execute(plan)
}

// plan prepares the initramfs and returns the steps from there on.
func (m *machine) plan() ([]Step, error) {
	modules, err := moduleFiles()
	if err != nil {
		return nil, err
	}
	if err := m.execute(Prepare(modules)); err != nil {
		return nil, err
	}
	facts, err := gather()
	if err != nil {
		return nil, err
	}
	if facts.Extensions != nil {
		m.layers = len(facts.Extensions.Layers)
	}
	return Plan(facts)
}

// execute carries out steps up to the first that fails.
func (m *machine) execute(steps []Step) error {
	for _, s := range steps {
		log, what := m.log.debug, s.String()
		if i, ok := s.(MountImage); ok && i.Extension != "" {
			log, what = m.log.info, what+" ("+i.File+")"
		}
		log(s.String())
		if err := s.(action).run(m); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// run says how long everything took, and is gone.
func (s Exec) run(m *machine) error {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return fmt.Errorf("reading the clock: %w", err)
	}
	m.log.info(fmt.Sprintf("root ready in %v, %v after the start of the kernel (%s)",
		time.Since(m.started).Round(time.Millisecond), time.Duration(up.Nano()).Round(time.Millisecond), count(m.layers, "layer")))
	err := unix.Exec(s.Program, append([]string{s.Program}, os.Args[1:]...), os.Environ())
	return advise(err, "the root filesystem must have a program there, for this architecture, with the ELF interpreter that it names")
}
