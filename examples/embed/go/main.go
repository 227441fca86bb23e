// A product written in Go that upgrades itself through slipway: check, install, progress, outcome.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Exit codes of slipway that a program treats differently; docs/reference/errors.md has all of them.
const (
	exitUpdateAvailable   = 10
	exitNothingToDo       = 3
	exitRefused           = 20 // a signature or a hash is wrong; nothing was touched
	exitRolledBack        = 40 // the old version is back and proven healthy
	exitHumanNeeded       = 41 // neither version is healthy
	exitNeedsConfirmation = 42
	exitNotNow            = 43 // pinned, held, window closed, older, blocked
	exitTryAgain          = 75
)

// Line is any line that slipway prints with --json: an event, or, as the last one, the result.
type Line struct {
	Event string `json:"event"`
	Phase string `json:"phase"`
	Step  string `json:"step"`
	Label string `json:"label"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`

	Kind    string `json:"kind"`
	Version string `json:"version"`
	Offer   *struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"offer"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
	} `json:"error"`
}

// slipway runs one command, hands each event to onEvent, and returns the result and the exit code.
func slipway(onEvent func(Line), args ...string) (Line, int, error) {
	program := os.Getenv("SLIPWAY")
	if program == "" {
		program = "slipway"
	}
	command := exec.Command(program, append(args, "--json")...)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return Line{}, 0, err
	}
	if err := command.Start(); err != nil {
		return Line{}, 0, err
	}
	var result Line
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20) // a status line may be long
	for lines.Scan() {
		var line Line
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // not for us
		}
		if line.Event != "" {
			onEvent(line)
		} else {
			result = line
		}
	}
	if err := lines.Err(); err != nil {
		return Line{}, 0, err
	}
	var failed *exec.ExitError
	if err := command.Wait(); err != nil && !errors.As(err, &failed) {
		return Line{}, 0, err
	}
	return result, command.ProcessState.ExitCode(), nil
}

func show(line Line) {
	switch line.Event {
	case "progress":
		fmt.Printf("%s: %d of %d bytes\n", line.Label, line.Done, line.Total)
	case "phase":
		fmt.Printf("now %s %s\n", line.Phase, line.Step)
	}
}

func run(installation string) (int, error) {
	offered, code, err := slipway(show, "upgrade", "check", "--detailed-exitcode", "--installation", installation)
	if err != nil {
		return 1, err
	}
	if code == exitNothingToDo {
		fmt.Println("nothing newer")
		return 0, nil
	}
	if code != exitUpdateAvailable {
		return code, fmt.Errorf("the check failed: %s", text(offered))
	}
	fmt.Printf("%s is available\n", offered.Offer.Version)

	result, code, err := slipway(show, "upgrade", "install", "--version", offered.Offer.Version, "--installation", installation)
	if err != nil {
		return 1, err
	}
	switch code {
	case 0:
		fmt.Printf("runs %s\n", result.Version)
	case exitRefused:
		fmt.Printf("refused, nothing was touched: %s\n", text(result))
	case exitRolledBack:
		fmt.Printf("back on the old version: %s\n", text(result))
	case exitHumanNeeded:
		fmt.Printf("a human must look: %s\n", text(result))
	case exitNeedsConfirmation, exitNotNow, exitTryAgain:
		fmt.Printf("later: %s\n", text(result))
	default:
		fmt.Printf("failed: %s\n", text(result))
	}
	return code, nil
}

func text(line Line) string {
	if line.Error == nil {
		return "no reason was given"
	}
	return line.Error.Code + ": " + line.Error.Message + " (" + line.Error.Hint + ")"
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: upgrade INSTALLATION-FILE")
		os.Exit(2)
	}
	code, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
