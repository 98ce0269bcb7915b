package cli

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// oneCPU has this process, and every command that it starts, run on one CPU until
// release is called. Threads have CPUs, and pass them on to those that they start.
func oneCPU() (release func()) {
	var before, one unix.CPUSet
	if unix.SchedGetaffinity(0, &before) != nil {
		return func() {}
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	procs := runtime.GOMAXPROCS(1)
	setCPUs(&one)
	return func() {
		setCPUs(&before)
		runtime.GOMAXPROCS(procs)
	}
}

// setCPUs sets the CPUs of all threads. One that ends meanwhile needs none; one
// that starts meanwhile is found in the second round.
func setCPUs(set *unix.CPUSet) {
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, t := range tasks {
			if tid, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.SchedSetaffinity(tid, set)
			}
		}
	}
}
