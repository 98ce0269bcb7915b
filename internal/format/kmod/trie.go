package kmod

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// trie is the content of a binary index, the files that end in .bin: a tree of
// strings, where a node holds what its keys have in common. Format version 2.1
// of libkmod-index.c, all numbers big-endian:
//
//	index    magic, version, offset of the root node
//	node     [prefix NUL] [first, last, offsets of children first..last] [values]
//	values   their number, then for each its priority and a string with NUL
//
// The upper bits of an offset say which of the three parts a node has.
type trie struct {
	prefix   string
	values   []trieValue
	children []trieChild // sorted by byte
}

type trieValue struct {
	priority uint32
	value    string
}

type trieChild struct {
	char byte
	node *trie
}

const (
	trieMagic    = 0xb007f457
	trieVersion  = 2<<16 | 1
	triePrefix   = 0x80000000
	trieValues   = 0x40000000
	trieChildren = 0x20000000
)

// trieKey reports whether the format can hold a key or value: ASCII, no NUL.
func trieKey(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == 0 || r > 0x7f })
}

// insert adds a value. Values of one key are in the order of their priority,
// among equals the one added last comes first.
func (t *trie) insert(key, value string, priority int) {
	for {
		n := commonPrefix(t.prefix, key)
		if n < len(t.prefix) {
			t.split(n)
		}
		if key = key[n:]; key == "" {
			t.addValue(trieValue{uint32(priority), value})
			return
		}
		i, found := slices.BinarySearchFunc(t.children, key[0], func(c trieChild, b byte) int { return cmp.Compare(c.char, b) })
		if !found {
			leaf := &trie{prefix: key[1:], values: []trieValue{{uint32(priority), value}}}
			t.children = slices.Insert(t.children, i, trieChild{key[0], leaf})
			return
		}
		t, key = t.children[i].node, key[1:]
	}
}

// split makes a node of the first n bytes of the prefix with a single child.
func (t *trie) split(n int) {
	child := &trie{prefix: t.prefix[n+1:], values: t.values, children: t.children}
	*t = trie{prefix: t.prefix[:n], children: []trieChild{{t.prefix[n], child}}}
}

func (t *trie) addValue(v trieValue) {
	i, _ := slices.BinarySearchFunc(t.values, v, func(a, b trieValue) int { return cmp.Compare(a.priority, b.priority) })
	t.values = slices.Insert(t.values, i, v)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// encode returns the file.
func (t *trie) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint32(nil, trieMagic)
	b = be.AppendUint32(b, trieVersion)
	b = be.AppendUint32(b, 0)
	b, root := t.append(b)
	be.PutUint32(b[8:], root)
	return b
}

// append adds the node behind its children and returns where it begins.
func (t *trie) append(b []byte) ([]byte, uint32) {
	offsets := make([]uint32, len(t.children))
	for i, c := range t.children {
		b, offsets[i] = c.node.append(b)
	}
	at := uint32(len(b))
	if t.prefix != "" {
		at |= triePrefix
		b = append(append(b, t.prefix...), 0)
	}
	if len(t.children) > 0 {
		at |= trieChildren
		b = t.appendChildren(b, offsets)
	}
	if len(t.values) > 0 {
		at |= trieValues
		b = t.appendValues(b)
	}
	return b, at
}

func (t *trie) appendChildren(b []byte, offsets []uint32) []byte {
	first, last := t.children[0].char, t.children[len(t.children)-1].char
	b = append(b, first, last)
	table := len(b)
	b = append(b, make([]byte, 4*(int(last)-int(first)+1))...)
	for i, c := range t.children {
		binary.BigEndian.PutUint32(b[table+4*int(c.char-first):], offsets[i])
	}
	return b
}

func (t *trie) appendValues(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.values)))
	for _, v := range t.values {
		b = binary.BigEndian.AppendUint32(b, v.priority)
		b = append(append(b, v.value...), 0)
	}
	return b
}
