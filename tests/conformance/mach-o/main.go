// Reads the code signatures of Slipway's executables for darwin with an independent implementation (go-macho), holds every page against them, and
// compares them with what that implementation would sign itself. See docs/conformance.md.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/blacktop/go-macho"
	"github.com/blacktop/go-macho/pkg/codesign"
	"github.com/blacktop/go-macho/pkg/codesign/types"
)

const pageBytes = 4096

func main() {
	if len(os.Args) < 2 {
		fmt.Println("usage: go run . EXECUTABLE...")
		os.Exit(2)
	}
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Printf("%s: %v\n", path, err)
			os.Exit(1)
		}
	}
	fmt.Println("all checks passed")
}

func check(path string) error {
	program, err := macho.Open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	signature := program.CodeSignature()
	if signature == nil || len(signature.CodeDirectories) != 1 {
		return fmt.Errorf("not one code directory")
	}
	directory := signature.CodeDirectories[0]
	if end := uint64(signature.Offset) + uint64(signature.Size); end != uint64(len(content)) {
		return fmt.Errorf("the signature ends at %d, the file at %d", end, len(content))
	}
	limit := directory.CodeLimit
	if limit != uint64(signature.Offset) {
		return fmt.Errorf("%d bytes are signed, and the signature begins at %d", limit, signature.Offset)
	}
	if err := checkSegments(program, uint64(len(content))); err != nil {
		return err
	}
	if err := checkPages(directory, content[:limit]); err != nil {
		return err
	}
	if err := compare(program, directory, content[:limit]); err != nil {
		return err
	}
	fmt.Printf("%s: %s, identifier %s, flags %s, %d pages of SHA-256 fit, cdhash %s\n",
		program.CPU, program.Type, directory.ID, directory.Header.Flags, len(directory.CodeSlots), directory.CDHash)
	return nil
}

// No segment may be larger in the file than in memory, or end behind the file; the last one holds the signature.
func checkSegments(program *macho.File, size uint64) error {
	for _, segment := range program.Segments() {
		if segment.Filesz > segment.Memsz || segment.Offset+segment.Filesz > size {
			return fmt.Errorf("segment %s has %d bytes at %d in the file, %d in memory", segment.Name, segment.Filesz, segment.Offset, segment.Memsz)
		}
	}
	last := program.Segment("__LINKEDIT")
	if last == nil || last.Offset+last.Filesz != size {
		return fmt.Errorf("__LINKEDIT does not end with the file")
	}
	return nil
}

func checkPages(directory types.CodeDirectory, code []byte) error {
	if pages := (len(code) + pageBytes - 1) / pageBytes; pages != len(directory.CodeSlots) {
		return fmt.Errorf("%d pages, %d hashes", pages, len(directory.CodeSlots))
	}
	for index, slot := range directory.CodeSlots {
		page := code[index*pageBytes : min(len(code), (index+1)*pageBytes)]
		if found := sha256.Sum256(page); !bytes.Equal(found[:], slot.Hash) {
			return fmt.Errorf("page %d has the hash %x, signed was %x", index, found, slot.Hash)
		}
	}
	return nil
}

// What go-macho signs for the same bytes: the hashes of all pages, and the segment that may be executed.
func compare(program *macho.File, directory types.CodeDirectory, code []byte) error {
	text := program.Segment("__TEXT")
	config := &codesign.Config{
		ID: directory.ID, IsMain: true, Flags: types.ADHOC, CodeSize: uint64(len(code)), TextOffset: text.Offset, TextSize: text.Filesz,
	}
	config.InitSlotHashes()
	made, err := codesign.Sign(io.Reader(bytes.NewReader(code)), config)
	if err != nil {
		return err
	}
	theirs, err := codesign.ParseCodeSignature(made)
	if err != nil {
		return err
	}
	other := theirs.CodeDirectories[0]
	if len(other.CodeSlots) != len(directory.CodeSlots) || other.CodeLimit != directory.CodeLimit {
		return fmt.Errorf("go-macho signs %d pages of %d bytes", len(other.CodeSlots), other.CodeLimit)
	}
	for index := range other.CodeSlots {
		if !bytes.Equal(other.CodeSlots[index].Hash, directory.CodeSlots[index].Hash) {
			return fmt.Errorf("go-macho has another hash for page %d", index)
		}
	}
	ours, others := directory.Header, other.Header
	if ours.ExecSegBase != others.ExecSegBase || ours.ExecSegLimit != others.ExecSegLimit || ours.ExecSegFlags != others.ExecSegFlags {
		return fmt.Errorf("go-macho signs the executable segment %d+%d (%s)", others.ExecSegBase, others.ExecSegLimit, others.ExecSegFlags)
	}
	return nil
}
