// Somebody else's verifier of our ledger: the reference implementation of signed notes, tree proofs and tiles.
// `make peers` installs it; tests/peers/test_tlog.py runs it. One question a line on standard input, one answer a line.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Verifier  string   `json:"verifier"`
	Head      string   `json:"head"`
	Entry     string   `json:"entry"`
	Position  int64    `json:"position"`
	Inclusion []string `json:"inclusion"`
	Kept      string   `json:"kept"`
	Proof     []string `json:"proof"`
	Mirror    string   `json:"mirror"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var asked question
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			err = answer(asked)
		}
		if err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("ok")
		}
	}
}

func answer(asked question) error {
	head, err := open(asked.Head, asked.Verifier)
	if err != nil {
		return err
	}
	if asked.Mirror != "" {
		return read(asked.Mirror, head)
	}
	inclusion, err := hashes(asked.Inclusion)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash([]byte(asked.Entry))
	if err := tlog.CheckRecord(tlog.RecordProof(inclusion), head.N, head.Hash, asked.Position, leaf); err != nil {
		return err
	}
	if asked.Kept == "" {
		return nil
	}
	kept, err := open(asked.Kept, asked.Verifier)
	if err != nil {
		return err
	}
	proof, err := hashes(asked.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(proof), head.N, head.Hash, kept.N, kept.Hash)
}

// open checks a signature and reads the three lines of a checkpoint (c2sp.org/tlog-checkpoint).
func open(text, key string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	fields := strings.Split(opened.Text, "\n")
	if len(fields) < 4 || fields[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(fields[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func hashes(texts []string) ([]tlog.Hash, error) {
	found := []tlog.Hash{}
	for _, text := range texts {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != tlog.HashSize {
			return nil, fmt.Errorf("%q is not a hash", text)
		}
		found = append(found, tlog.Hash(raw))
	}
	return found, nil
}

// mirror reads the tiles of c2sp.org/tlog-tiles from a directory: tile/<L>/<N>[.p/<W>], without the height of Go's.
type mirror string

func (m mirror) Height() int { return 8 }

func (m mirror) SaveTiles([]tlog.Tile, [][]byte) {}

func (m mirror) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := [][]byte{}
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(m), path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// read proves every entry of a mirror, from its own tiles, under the head; TileHashReader checks each tile against it.
func read(directory string, head tlog.Tree) error {
	reader := tlog.TileHashReader(head, mirror(directory))
	root, err := tlog.TreeHash(head.N, reader)
	if err != nil {
		return err
	}
	if root != head.Hash {
		return fmt.Errorf("the tiles have the root %s", base64.StdEncoding.EncodeToString(root[:]))
	}
	for first := int64(0); first < head.N; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: int(min(256, head.N-first))}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(directory, path))
		if err != nil {
			return err
		}
		for place := first; place < first+int64(tile.W); place++ {
			if len(data) < 2 || len(data) < 2+int(data[0])<<8+int(data[1]) {
				return fmt.Errorf("%s is cut off", path)
			}
			length := int(data[0])<<8 + int(data[1])
			proof, err := tlog.ProveRecord(head.N, place, reader)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, head.N, head.Hash, place, tlog.RecordHash(data[2:2+length])); err != nil {
				return fmt.Errorf("entry %d: %w", place, err)
			}
			data = data[2+length:]
		}
		if len(data) != 0 {
			return fmt.Errorf("%s has something behind its entries", path)
		}
	}
	return nil
}
