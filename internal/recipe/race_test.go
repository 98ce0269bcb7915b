//go:build race

package recipe

// raceEnabled says that the race detector slows everything down.
const raceEnabled = true
