package profile

import (
	"slices"
	"strings"
)

// defaults are the arguments of all platforms (pkg/machinery/kernel).
var defaults = []arg{
	{text: "init_on_alloc=1", feature: initOnAlloc},
	{text: "slab_nomerge"},
	{text: "pti=on"},
	{text: "consoleblank=0"},
	{text: "nvme_core.io_timeout=4294967295", feature: nvmeTimeout},
	{text: "printk.devkmsg=on"},
	{text: "ima_template=ima-ng", feature: ima},
	{text: "ima_appraise=fix", feature: ima},
	{text: "ima_hash=sha512", feature: ima},
	{text: "selinux=1", feature: selinux},
	{text: "module.sig_enforce=1", feature: sigEnforce},
	{text: "proc_mem.force_override=never", feature: procMemOverride},
}

const (
	platformKey   = "talos.platform"
	sigEnforceKey = "module.sig_enforce"
	wipe          = "talos.experimental.wipe=system"

	// metaArg carries META values to the installer where there is no partition
	// to write them to: an argument that sets an environment variable.
	metaArg = "talos.environment=INSTALLER_META_BASE64="
)

// MaxCmdline is how many bytes a kernel keeps of its command line: 2048, the
// COMMAND_LINE_SIZE of x86 and of arm64, without the closing zero byte.
const MaxCmdline = 2047

// grubWord is what GRUB puts before a command line, with the longer one of the
// paths that kernels have.
const grubWord = "BOOT_IMAGE=/boot/vmlinuz "

// cmdline makes the command line of a resolved and valid profile; metaEnv are
// the encoded META values, if they go there.
func (p Profile) cmdline(q Quirks, metaEnv string) string {
	var l commandLine
	l.add(platformKey + "=" + p.Platform)
	l.addAll(platformArgs(p.Platform), p.Arch, q)
	if p.Output.Kind == ISO && q.has(haltIfInstalled) {
		l.add("talos.halt_if_installed=1")
	}
	l.addAll(defaults, p.Arch, q)
	if p.Secure() && q.has(lockdown) {
		l.add("lockdown=confidentiality")
	}
	if metaEnv != "" {
		l.add(metaArg + metaEnv)
	}
	l.customize(p.extraArgs(), p.kept(q))
	return l.String()
}

// extraArgs are the user's arguments, of which one word of a profile may have
// several.
func (p Profile) extraArgs() []string {
	return strings.Fields(strings.Join(p.Customization.ExtraKernelArgs, " "))
}

// kept are the keys that must not be removed: with SecureBoot the kernel
// enforces signatures of modules whatever it is told.
func (p Profile) kept(q Quirks) []string {
	if p.Secure() && q.has(sigEnforce) {
		return []string{sigEnforceKey}
	}
	return nil
}

// commandLine is a command line as Talos keeps it (go-procfs): the values of
// one key stand together, where the key came first.
type commandLine []parameter

type parameter struct {
	key   string
	words []string // the whole words, key and all
}

func argKey(word string) string {
	key, _, _ := strings.Cut(word, "=")
	return key
}

func (l commandLine) find(key string) int {
	return slices.IndexFunc(l, func(p parameter) bool { return p.key == key })
}

func (l *commandLine) add(word string) {
	key := argKey(word)
	if word == key+"=" {
		word = key // there is no other way to write it
	}
	if i := l.find(key); i >= 0 {
		(*l)[i].words = append((*l)[i].words, word)
		return
	}
	*l = append(*l, parameter{key, []string{word}})
}

func (l *commandLine) addAll(args []arg, arch string, q Quirks) {
	for _, a := range args {
		if (a.arch == "" || a.arch == arch) && q.has(a.feature) {
			l.add(a.text)
		}
	}
}

// customize adds the user's words. Those of the keys "console" and
// "talos.platform" take the place of what is there; "-key" removes all words of
// a key and "-key=value" one.
func (l *commandLine) customize(extra, kept []string) {
	var user commandLine
	for _, word := range extra {
		user.add(word)
	}
	for _, p := range user {
		key, remove := strings.CutPrefix(p.key, "-")
		switch {
		case remove && key != "" && slices.Contains(kept, key):
		case remove && key != "":
			l.remove(key, p.words)
		case p.key == "console" || p.key == platformKey:
			l.replace(p)
		default:
			for _, word := range p.words {
				l.add(word)
			}
		}
	}
}

func (l *commandLine) replace(p parameter) {
	if i := l.find(p.key); i >= 0 {
		(*l)[i] = p
		return
	}
	*l = append(*l, p)
}

// remove takes out a key that the first of the words names alone, or the values
// that the words name.
func (l *commandLine) remove(key string, words []string) {
	i := l.find(key)
	switch {
	case i < 0:
	case words[0] == "-"+key:
		*l = slices.Delete(*l, i, i+1)
	default:
		(*l)[i].words = slices.DeleteFunc((*l)[i].words, func(w string) bool { return slices.Contains(words, "-"+w) })
	}
}

// String is the words with a blank between them.
func (l commandLine) String() string {
	var words []string
	for _, p := range l {
		words = append(words, p.words...)
	}
	return strings.Join(words, " ")
}
