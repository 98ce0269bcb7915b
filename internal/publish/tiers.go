package publish

import (
	"maps"
	"slices"
)

// Verdict is what a release does with an extension that has a fault. The worse
// is the greater.
type Verdict int

// The verdicts.
const (
	Fits     Verdict = iota
	Warns            // it is published, and said
	LeftOut          // the release goes on without it
	StopsAll         // there is no release
)

// Fault is what may be wrong with an extension.
type Fault string

// The faults.
const (
	NotBuilt Fault = "it was not built"
	Unnamed  Fault = "its name and version cannot be those of an image, as in name:1.2.3_4 (no capitals in the name, no + in the version)"
	Misnamed Fault = "its manifest has another name"
	Refused  Fault = "the checks found errors"
	NoSBOM   Fault = "it has no SBOM"
)

// Contrib is the tier of what has none.
const Contrib = "contrib"

// verdicts say what each tier promises ("Official Extension Tiers"). What is not
// here fits.
var verdicts = map[string]map[Fault]Verdict{
	"core":       {NotBuilt: StopsAll, Unnamed: StopsAll, Misnamed: StopsAll, Refused: StopsAll, NoSBOM: StopsAll},
	"extra":      {NotBuilt: StopsAll, Unnamed: StopsAll, Misnamed: StopsAll, Refused: Warns, NoSBOM: Warns},
	Contrib:      {NotBuilt: LeftOut, Unnamed: LeftOut, Misnamed: LeftOut, Refused: LeftOut},
	"deprecated": {NotBuilt: LeftOut, Unnamed: LeftOut, Misnamed: LeftOut, Refused: LeftOut},
}

// Tiers are their names, sorted.
func Tiers() []string { return slices.Sorted(maps.Keys(verdicts)) }

// Judge says what becomes of an extension of a tier with a fault.
func Judge(tier string, f Fault) Verdict { return verdicts[tier][f] }
