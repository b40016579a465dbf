package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Limits of one policy. They are looked at before the Cedar parser sees the
// text: it recurses with the nesting, and a stack that overflows cannot be
// recovered from (T60: deep, pathological text).
const (
	maxPolicyText = 16 << 10 // bytes, comments before it included
	maxNesting    = 32       // brackets inside brackets
	maxDepth      = 100      // levels of the parsed expression (a || b || … is one a term)
)

// Problem is one thing that is wrong with a policy text.
type Problem struct {
	Place string // file:line
	Text  string
}

func (p Problem) String() string { return p.Place + ": " + p.Text }

// chunk is the text of one policy: everything up to and with its semicolon.
type chunk struct {
	text string
	line int // of the chunk's first byte, from 1
}

// split cuts a file into policies with the lexical rules of Cedar (strings with
// backslash escapes, // and /* */ comments). What is behind the last semicolon
// comes back as a last chunk when it is more than white space and comments.
func split(name, text string) ([]chunk, *Problem) {
	var out []chunk
	start, startLine, line, depth := 0, 1, 1, 0
	blank := true // only white space and comments since start
	problem := func(at int, format string, args ...any) ([]chunk, *Problem) {
		return nil, &Problem{Place: place(name, at), Text: fmt.Sprintf(format, args...)}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			line++
			continue
		case c == ' ' || c == '\t' || c == '\r':
			continue
		case c == '/' && strings.HasPrefix(text[i:], "//"):
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				n = len(text) - i
			}
			i += n - 1
			continue
		case c == '/' && strings.HasPrefix(text[i:], "/*"):
			n := strings.Index(text[i+2:], "*/")
			if n < 0 {
				return problem(line, "this comment has no end")
			}
			line += strings.Count(text[i:i+2+n], "\n")
			i += 2 + n + 1
			continue
		case c == '"':
			blank = false
			for i++; i < len(text) && text[i] != '"' && text[i] != '\n'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i >= len(text) || text[i] != '"' {
				return problem(line, "this string has no end")
			}
		case strings.IndexByte("([{", c) >= 0:
			blank = false
			if depth++; depth > maxNesting {
				return problem(line, "brackets are nested deeper than %d", maxNesting)
			}
		case strings.IndexByte(")]}", c) >= 0:
			blank = false
			depth--
		case c == ';':
			if i+1-start > maxPolicyText {
				return problem(startLine, "this policy has %d bytes; %d are allowed", i+1-start, maxPolicyText)
			}
			out = append(out, chunk{text: text[start : i+1], line: startLine})
			start, startLine, depth, blank = i+1, line, 0, true
		default:
			blank = false
		}
	}
	if !blank {
		return problem(startLine, "the text after the last policy is no policy: a semicolon is missing")
	}
	return out, nil
}

// parseChunk reads the one policy that a chunk holds, and its line.
func parseChunk(name string, c chunk) (*xast.Policy, int, *Problem) {
	list, err := cedar.NewPolicyListFromBytes(name, []byte(c.text))
	if err != nil {
		return nil, 0, c.syntax(name, err.Error())
	}
	if len(list) != 1 {
		return nil, 0, &Problem{Place: place(name, c.line), Text: "here is not exactly one policy"}
	}
	return (*xast.Policy)(list[0].AST()), c.line + list[0].Position().Line - 1, nil
}

// parserPlace is how the parser says where; it counts from the chunk's start.
var parserPlace = regexp.MustCompile(`(?:at )?<input>:([0-9]+):[0-9]+:? ?`)

// syntax makes a problem of the parser's error.
func (c chunk) syntax(name, text string) *Problem {
	line := c.line
	if m := parserPlace.FindStringSubmatchIndex(text); m != nil {
		if n, err := strconv.Atoi(text[m[2]:m[3]]); err == nil && n > 0 {
			line += n - 1
		}
		text = text[:m[0]] + text[m[1]:]
	}
	text = strings.TrimPrefix(text, "parser error: ")
	return &Problem{Place: place(name, line), Text: "this does not parse: " + text}
}

func place(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

// measure returns how many nodes an expression has and how deep it is.
func measure(n xast.IsNode) (nodes, depth int) {
	for _, child := range children(n) {
		below, d := measure(child)
		nodes += below
		depth = max(depth, d)
	}
	return nodes + 1, depth + 1
}

// children returns the direct sub-expressions of a node.
func children(n xast.IsNode) []xast.IsNode {
	var out []xast.IsNode
	first := true
	xast.Inspect(xast.NewNode(n), func(m xast.IsNode) bool {
		if first {
			first = false
			return true
		}
		out = append(out, m)
		return false
	})
	return out
}

// walk calls f for an expression and everything in it, parents first.
func walk(n xast.IsNode, f func(xast.IsNode)) {
	xast.Inspect(xast.NewNode(n), func(m xast.IsNode) bool {
		f(m)
		return true
	})
}

// conjuncts returns the operands of a chain of && from left to right, in the
// order in which they are evaluated.
func conjuncts(n xast.IsNode) []xast.IsNode {
	and, ok := n.(xast.NodeTypeAnd)
	if !ok {
		return []xast.IsNode{n}
	}
	return slices.Concat(conjuncts(and.Left), conjuncts(and.Right))
}
