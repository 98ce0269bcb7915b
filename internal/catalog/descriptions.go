package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// DescriptionsName is the file with author and description of each image.
const DescriptionsName = "descriptions.yaml"

// maxDescriptions bounds descriptions.yaml, in bytes: that of Talos has 50 KiB.
// What is parsed takes up to sixty times as much memory.
const maxDescriptions = 4 << 20

// description is a value of descriptions.yaml; its key is the image's line.
type description struct {
	Author      string
	Description string
}

// parseDescriptions reads descriptions.yaml. It takes plain scalars only, so
// that aliases cost nothing.
func parseDescriptions(data []byte, p *problems) map[string]description {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			p.add("%s: %v", DescriptionsName, err)
		}
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		if root := doc.Content; len(root) != 1 || root[0].Tag != "!!null" {
			p.add("%s: it is no map", DescriptionsName)
		}
		return nil
	}
	all := map[string]description{}
	pairs := doc.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		key, value := pairs[i], pairs[i+1]
		if key.Kind != yaml.ScalarNode || value.Kind != yaml.MappingNode {
			p.add("%s, line %d: wanted is an image with author and description", DescriptionsName, key.Line)
			continue
		}
		all[key.Value] = description{scalar(value, "author"), scalar(value, "description")}
	}
	return all
}

// scalar is the text of a key, "" if there is none.
func scalar(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == key && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
			return v.Value
		}
	}
	return ""
}

func formatDescriptions(entries []Entry) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range entries {
		value := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
			text("author"), text(e.Author), text("description"), text(e.Description),
		}}
		root.Content = append(root.Content, text(e.Image.String()), value)
	}
	if len(entries) == 0 {
		return []byte("{}\n"), nil
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("writing %s: %w", DescriptionsName, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing %s: %w", DescriptionsName, err)
	}
	return b.Bytes(), nil
}

// text is a string in YAML, in whichever style reads back as one.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}
