package boot

import (
	"errors"
	"os"
	"strings"
	"unicode"
)

// Levels of the kernel's log (include/linux/kern_levels.h).
const (
	levelCrit  = "<2>" // on the console even with "quiet"
	levelWarn  = "<4>"
	levelInfo  = "<6>"
	levelDebug = "<7>"
)

// maxRecord bounds a line: the kernel takes records of up to 1024 bytes.
const maxRecord = 900

// log writes to the kernel's log, which is on every console. What is said
// before /dev is mounted is lost, but for errors: these go to the console that
// init was started with.
type log struct{ device string }

func (l *log) debug(text string) { l.write(levelDebug, text) }
func (l *log) info(text string)  { l.write(levelInfo, text) }
func (l *log) warn(text string)  { l.write(levelWarn, text) }

func (l *log) fatal(err error) {
	lines := []string{"cannot boot: " + err.Error()}
	if advice := adviceFor(err); advice != "" {
		lines = append(lines, "what to do: "+advice)
	}
	for _, line := range lines {
		if !l.write(levelCrit, line) {
			os.Stderr.WriteString("graft-init: " + printable(line) + "\n")
		}
	}
}

// write says whether the kernel has taken the line. It opens the log for each:
// the kernel takes only ten lines in five seconds through one opened file (unless
// its command line has printk.devkmsg=on), and there may be more layers than that.
func (l *log) write(level, text string) bool {
	f, err := os.OpenFile(l.device, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString(level + "graft-init: " + printable(text) + "\n")
	return errors.Join(err, f.Close()) == nil
}

// printable makes one line of text that comes from an extension.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxRecord {
		text = strings.ToValidUTF8(text[:maxRecord], "") + "..."
	}
	return text
}
