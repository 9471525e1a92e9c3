// Command porcupine says of each history of an address whether it is linearizable.
//
// It reads one JSON array of operations a line and prints "ok", "illegal" or "unknown". The model is
// written a second time here, from tests/histories/linearizable.py, to check that search.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	timeout     = 30 * time.Second
	longestLine = 1 << 24
)

type operation struct {
	Kind     string `json:"kind"` // take, leave or seen
	User     string `json:"user"`
	Began    int64  `json:"began"`
	Ended    int64  `json:"ended"`
	Order    int    `json:"order"`    // operations of a user happen in this order; 0 for any
	Optional bool   `json:"optional"` // it may never take effect
	Reserved bool   `json:"reserved"` // the user seen may only have reserved the address
}

// state is comparable: orders lists the latest order of each user.
type state struct {
	holder string
	orders string
}

func main() {
	model := (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(before, input, _ any) []any { return step(before.(state), input.(operation)) },
	}).ToModel()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var operations []operation
		if err := json.Unmarshal(lines.Bytes(), &operations); err != nil {
			fail(err)
		}
		history := make([]porcupine.Operation, len(operations))
		for n, one := range operations {
			history[n] = porcupine.Operation{Input: one, Call: one.Began, Return: one.Ended}
		}
		result := porcupine.CheckOperationsTimeout(model, history, timeout)
		fmt.Println(strings.ToLower(string(result)))
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
}

// step returns the states that are possible after an operation.
func step(before state, one operation) []any {
	var after []any
	if one.Optional {
		after = append(after, before)
	}
	if next, possible := apply(before, one); possible {
		after = append(after, next)
	}
	return after
}

func apply(before state, one operation) (state, bool) {
	after := before
	if one.Order > 0 {
		orders := map[string]int{}
		if before.orders != "" {
			if err := json.Unmarshal([]byte(before.orders), &orders); err != nil {
				fail(err)
			}
		}
		if one.Order < orders[one.User] {
			return after, false
		}
		orders[one.User] = one.Order
		encoded, err := json.Marshal(orders) // sorted by user: equal maps have equal text
		if err != nil {
			fail(err)
		}
		after.orders = string(encoded)
	}
	switch one.Kind {
	case "take":
		if before.holder != "" && before.holder != one.User {
			return after, false
		}
		after.holder = one.User
	case "leave":
		if before.holder == one.User {
			after.holder = ""
		}
	case "seen":
		return after, before.holder == one.User || one.Reserved
	}
	return after, true
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
