// Command opa is Open Policy Agent as a peer of `reef bench gate`: it decides the same
// questions by the same rules, in the same turns. It reads orders from its standard input,
// a line of JSON each, answers each by a line, and ends when its input does.
//
// It is a module of its own, so that OPA and its modules stay out of the product.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// order is a line of input: rules to load under a name, with the questions to ask, or how
// long to ask.
type order struct {
	Name      string           `json:"name"`
	Rules     string           `json:"rules"` // a module that has data.reef.allowed
	Questions []map[string]any `json:"questions"`
	Micros    int64            `json:"micros"`
}

// answer is a line of output.
type answer struct {
	Allowed []bool `json:"allowed,omitempty"` // of the questions, in their order
	Nanos   []int  `json:"nanos,omitempty"`   // p50 and p99 of a decision
	N       int    `json:"n,omitempty"`
	Error   string `json:"error,omitempty"`
}

// judge is what rules were prepared to.
type judge struct {
	query  rego.PreparedEvalQuery
	inputs []ast.Value
	next   int
}

func main() {
	ctx := context.Background()
	lines, out := bufio.NewReaderSize(os.Stdin, 1<<20), json.NewEncoder(os.Stdout)
	court := make(map[string]*judge)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var a answer
		if err == nil {
			a, err = obey(ctx, court, line)
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func obey(ctx context.Context, court map[string]*judge, line []byte) (a answer, err error) {
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return a, err
	}
	if o.Rules != "" {
		court[o.Name] = &judge{}
		return court[o.Name].load(ctx, o)
	}
	j := court[o.Name]
	if j == nil {
		return a, fmt.Errorf("there are no rules %q", o.Name)
	}
	return j.ask(ctx, time.Duration(o.Micros)*time.Microsecond)
}

// load prepares rules, and answers what they say to each question.
func (j *judge) load(ctx context.Context, o order) (a answer, err error) {
	if j.query, err = rego.New(rego.Query("data.reef.allowed"), rego.Module("reef.rego", o.Rules)).PrepareForEval(ctx); err != nil {
		return a, err
	}
	for _, q := range o.Questions {
		v, err := ast.InterfaceToValue(q) // so that reading the question is not timed
		if err != nil {
			return a, err
		}
		j.inputs = append(j.inputs, v)
	}
	for range j.inputs {
		allowed, err := j.decide(ctx)
		if err != nil {
			return a, err
		}
		a.Allowed = append(a.Allowed, allowed)
	}
	return a, nil
}

// decide asks the next question.
func (j *judge) decide(ctx context.Context) (bool, error) {
	if len(j.inputs) == 0 {
		return false, errors.New("there are no questions")
	}
	in := j.inputs[j.next%len(j.inputs)]
	j.next++
	set, err := j.query.Eval(ctx, rego.EvalParsedInput(in))
	return set.Allowed(), err
}

// ask decides for some time.
func (j *judge) ask(ctx context.Context, span time.Duration) (a answer, err error) {
	const batch = 16
	var took []int
	for end := time.Now().Add(span); len(took) == 0 || time.Now().Before(end); {
		start := time.Now()
		for range batch {
			if _, err := j.decide(ctx); err != nil {
				return a, err
			}
		}
		took = append(took, int(time.Since(start))/batch)
	}
	slices.Sort(took)
	return answer{Nanos: []int{took[len(took)/2], took[(len(took)-1)*99/100]}, N: len(took) * batch}, nil
}
