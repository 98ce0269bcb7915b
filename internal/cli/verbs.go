package cli

import "github.com/spf13/cobra"

// addVerbs gives the root its commands.
func addVerbs(root *cobra.Command, s Streams) {
	add(root, "recipe", newBuild(s), newGraph(s), newEval(s), newDump(s), newUpdate(s))
	add(root, "extension", newPack(s), newValidate(s), newInspect(s), newSBOM(s), newScan(s))
	add(root, "catalog", newPublish(s), newCatalog(s), newSign(s), newAttest(s), newVerify(s), newRegistry(s))
	add(root, "asset", newImage(s), newKeys(s), newBoot(s), newDiff(s), newCache(s))
	add(root, "node", newGet(s))
}
