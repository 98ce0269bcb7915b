package cli

import "github.com/spf13/cobra"

// addVerbs gives the root its commands.
func addVerbs(root *cobra.Command, s Streams) {
	add(root, "recipe", newBuild(s), newGraph(s), newEval(s), newDump(s), newUpdate(s))
	add(root, "extension", newPack(s), newValidate(s), newInspect(s))
	add(root, "asset", newImage(s), newKeys(s), newBoot(s), newDiff(s), newCache(s))
	add(root, "node", newGet(s))
}
