// Command vex asks the library of OpenVEX what a document says of a vulnerability in a
// product with a part. Each line of its input has the document's file and these three,
// with tabs between them; each line of its output the status, or "-" if it says nothing.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/openvex/go-vex/pkg/vex"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Split(in.Text(), "\t")
		doc, err := vex.Open(words[0])
		if err != nil {
			log.Fatal(err)
		}
		statements := doc.Matches(words[1], words[2], words[3:])
		if len(statements) == 0 {
			fmt.Println("-")
			continue
		}
		vex.SortStatements(statements, *doc.Timestamp)
		fmt.Println(statements[len(statements)-1].Status)
	}
}
