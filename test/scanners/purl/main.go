// Command purl writes package URLs as the library of their specification would: each
// line of its input is one, each line of its output the canonical form of it.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"

	"github.com/package-url/packageurl-go"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		u, err := packageurl.FromString(in.Text())
		if err != nil {
			log.Fatal(err)
		}
		if err := u.Normalize(); err != nil {
			log.Fatal(err)
		}
		fmt.Println(u.ToString())
	}
}
