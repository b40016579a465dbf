package charter

// Narrow is the intersection of two grants: what is within both. It is the one function
// by which authority is handed down; budgets are bounds here, and are taken out of the
// parent's remainder where the child is born.
func Narrow(a, b Grant) Grant {
	return Grant{
		Acts: a.Acts.And(b.Acts), Communities: a.Communities.And(b.Communities), Tools: a.Tools.And(b.Tools),
		Skills: a.Skills.And(b.Skills), Egress: a.Egress.And(b.Egress),
		Clearance: least(a.Clearance, b.Clearance), Life: least(a.Life, b.Life),
		Budget: Budget{
			Acts: bound(a.Budget.Acts, b.Budget.Acts), Tokens: bound(a.Budget.Tokens, b.Budget.Tokens),
			Money: bound(a.Budget.Money, b.Budget.Money), CPU: bound(a.Budget.CPU, b.Budget.CPU),
		},
		Spawn: a.Spawn.and(b.Spawn),
	}
}

// least is the smaller of two bounds of which 0 is none.
func least[T ~uint8 | ~int64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

func bound(a, b *int64) *int64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	n := min(*a, *b)
	return &n
}

// and is what both allow. Here 0 is none at all, but for the rate.
func (s Spawn) and(o Spawn) Spawn {
	out := Spawn{Classes: s.Classes.And(o.Classes), Depth: min(s.Depth, o.Depth), FanOut: min(s.FanOut, o.FanOut), Rate: s.Rate, Window: s.Window}
	if s.Rate == 0 || o.Rate != 0 && o.slower(s) {
		out.Rate, out.Window = o.Rate, o.Window
	}
	return out
}

// slower reports whether a rate lets fewer through in a long time than another.
func (s Spawn) slower(o Spawn) bool {
	a, b := int64(s.Rate)*int64(o.window()), int64(o.Rate)*int64(s.window())
	return a < b || a == b && s.window() < o.window()
}

func (s Spawn) window() Duration {
	if s.Window == 0 {
		return 60 * DefaultWindow
	}
	return s.Window
}

// SpawnWindow is the window of the rate.
func (s Spawn) SpawnWindow() Duration { return s.window() }

// Handed is a grant as its holder's children get it at most: a generation less.
func (g Grant) Handed() Grant {
	g.Spawn.Depth = max(0, g.Spawn.Depth-1)
	return g
}

// Within reports whether everything that g allows o allows.
func (g Grant) Within(o Grant) bool {
	budgets, limits := g.Budget.Limits(), o.Budget.Limits()
	for i, limit := range limits {
		if limit != nil && (budgets[i] == nil || *budgets[i] > *limit) {
			return false
		}
	}
	return g.Acts.Within(o.Acts) && g.Communities.Within(o.Communities) && g.Tools.Within(o.Tools) && g.Skills.Within(o.Skills) &&
		g.Egress.Within(o.Egress) && under(g.Clearance, o.Clearance) && under(g.Life, o.Life) && g.Spawn.within(o.Spawn)
}

// under compares bounds of which 0 is none.
func under[T ~uint8 | ~int64](a, b T) bool { return b == 0 || a != 0 && a <= b }

func (s Spawn) within(o Spawn) bool {
	if s.Depth == 0 || s.FanOut == 0 {
		return true
	}
	return s.Classes.Within(o.Classes) && s.Depth <= o.Depth && s.FanOut <= o.FanOut && (o.Rate == 0 || s.Rate != 0 && !o.slower(s))
}
