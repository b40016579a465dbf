package store

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// rowForms makes of a statement that inserts one row the ones that insert several.
// PostgreSQL prepares a statement to run each time it is sent, which costs more than
// a row; so acts that share a transaction insert their rows together. It belongs to
// one goroutine.
type rowForms map[Q]*rowForm

// rowForm is "INSERT INTO t (a, b) VALUES ($1, $2)" and what may follow, taken apart.
type rowForm struct {
	head, row, tail string
	params          int
	several         [convoyBits + 1]Q // for 1, 2, 4, … rows; "" before the first use
}

const convoyBits = 6 // of convoyMost

// of returns the form of a statement, nil if it is another kind of statement.
func (f rowForms) of(q Q) *rowForm {
	form, known := f[q]
	if !known {
		form = parseRow(string(q))
		f[q] = form
	}
	return form
}

func parseRow(q string) *rowForm {
	const values = "VALUES "
	from := strings.Index(q, values+"(")
	if !strings.HasPrefix(q, "INSERT INTO ") || from < 0 {
		return nil
	}
	form := &rowForm{head: q[:from+len(values)]}
	rest, depth := q[from+len(values):], 0
	for i := range len(rest) {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '\'':
			return nil // a literal could hold anything
		}
		if depth == 0 {
			form.row, form.tail = rest[:i+1], rest[i+1:]
			break
		}
	}
	if form.row == "" || strings.ContainsAny(form.tail, "$'") || strings.Contains(form.tail, "RETURNING") {
		return nil
	}
	form.params = slices.Max(append(params(form.row), 0))
	return form
}

// params lists the numbers of the parameters in a text.
func params(s string) (list []int) {
	for part := range strings.SplitSeq(s, "$") {
		end := 0
		for end < len(part) && part[end] >= '0' && part[end] <= '9' {
			end++
		}
		if n, err := strconv.Atoi(part[:end]); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// text returns the statement that inserts 1<<power rows.
func (f *rowForm) text(power int) Q {
	if f.several[power] == "" {
		var b strings.Builder
		b.WriteString(f.head)
		for r := range 1 << power {
			if r > 0 {
				b.WriteString(", ")
			}
			first, rest, _ := strings.Cut(f.row, "$")
			b.WriteString(first)
			for part := range strings.SplitSeq(rest, "$") {
				end := 0
				for end < len(part) && part[end] >= '0' && part[end] <= '9' {
					end++
				}
				n, _ := strconv.Atoi(part[:end])
				b.WriteString("$" + strconv.Itoa(n+r*f.params) + part[end:])
			}
		}
		b.WriteString(f.tail)
		f.several[power] = Q(b.String())
	}
	return f.several[power]
}

// each calls fn with the statements that insert the rows, each row's arguments one
// behind the other, in few enough sizes for all of them to stay prepared.
func (f *rowForm) each(rows [][]any, fn func(q Q, args []any)) {
	for len(rows) > 0 {
		power := min(bits.Len(uint(len(rows)))-1, convoyBits)
		n := 1 << power
		args := make([]any, 0, n*f.params)
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		fn(f.text(power), args)
		rows = rows[n:]
	}
}
