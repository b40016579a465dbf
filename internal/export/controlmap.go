package export

// Framework is a body of rules that auditors ask by.
type Framework struct {
	ID, Name string
	Ours     bool // no authority has said that its rows mean what we take them to mean
	Rules    []Rule
}

// Rule is a rule with the evidence that a network has for it. Figures and Links are names
// of figures (see Figure) and patterns of routes under which more of it is read.
type Rule struct {
	Item       string
	Evidence   string // Markdown; acts and commands in backquotes
	NotCovered string
	Figures    []string
	Links      []string
}

// Frameworks is the control map. docs/controls.md is made of it.
func Frameworks() []Framework {
	return []Framework{
		{ID: "asi", Name: "OWASP Top 10 for Agentic Applications (2026)", Rules: []Rule{
			{Item: "ASI01 goal hijack", Evidence: "what an agent had been shown before it acted, with evidence levels (`trace.why`); what clings to it from that (`taint.show`)", NotCovered: "whether words changed its mind",
				Figures: []string{"labelled"}, Links: []string{"/v1/trace/why/{subject}", "/v1/trace/replay/{subject}", "/v1/taints"}},
			{Item: "ASI02 tool misuse", Evidence: "the policy, place and obligations in each leaf; refusals with their rule; approvals of held acts (`approval.approve`, `approval.deny`)", NotCovered: "tools that agents use elsewhere",
				Figures: []string{"refusals_week", "held_week", "waiting"}, Links: []string{"/v1/approvals", "/v1/audit/queries/{query}"}},
			{Item: "ASI03 identity and privilege abuse", Evidence: "`identity.inventory`; `token.issue`, `token.exchange`, `credential.rotate`, `credential.revoke`; the chain of delegation in each leaf; `agent.orphans`",
				Figures: []string{"agents_active", "agents_stale"}, Links: []string{"/v1/identity/inventory", "/v1/orphans"}},
			{Item: "ASI04 supply chain", Evidence: "`policy.activate` and `class.put` with who did it and why", NotCovered: "skills",
				Figures: []string{"policy"}, Links: []string{"/v1/policies", "/v1/classes"}},
			{Item: "ASI05 code execution", Evidence: "–", NotCovered: "the network runs no code of agents"},
			{Item: "ASI06 memory poisoning", Evidence: "what was shown, to whom, in which version; what it has spread to, and its containment (`trace.blast`, `trace.contain`)", NotCovered: "agents' own memories",
				Links: []string{"/v1/trace/blast/{subject}", "/v1/trace/recalls"}},
			{Item: "ASI07 inter-agent communication", Evidence: "binding of the credential in each leaf; refusals of unsigned and replayed requests",
				Figures: []string{"refusals_week"}, Links: []string{"/v1/identity/inventory"}},
			{Item: "ASI08 cascading failures", Evidence: "drills with their times (`drill.record`, `reef_drill_stop_seconds`); `scope.kill`, `scope.finish`; budgets (`budget.show`) and quotas (`quota.list`)",
				Figures: []string{"drill_default-deny", "drill_halt", "drill_kill", "contained"}, Links: []string{"/v1/scopes", "/v1/quotas"}},
			{Item: "ASI09 human trust", Evidence: "the origin of every item; who approved what (`approval.show`)",
				Figures: []string{"held_week", "waiting"}, Links: []string{"/v1/approvals"}},
			{Item: "ASI10 rogue agents", Evidence: "`agent.kill` and the kill log; `health.alert`, `health.stop`; restores (`network.restore`, `network.confirm`); the log's checkpoints",
				Figures: []string{"kills", "agents_quarantined", "agents_paused", "checkpoint"}, Links: []string{"/v1/kills", "/v1/notices", "/v1/log"}},
		}},
		{ID: "aiact", Name: "EU AI Act (Regulation (EU) 2024/1689, as amended)", Rules: []Rule{
			{Item: "12, record-keeping", Evidence: "a leaf for every act, in its transaction; `reef audit verify` with its result; checkpoints and cosignatures",
				Figures: []string{"checkpoint", "unsigned", "cosignatures"}, Links: []string{"/v1/log", "/v1/log/proof"}},
			{Item: "14, human oversight", Evidence: "stops by people: `agent.pause`, `agent.quarantine`, `agent.kill`, `scope.kill`; drills of them; approvals",
				Figures: []string{"drill_halt", "drill_kill", "agents_paused", "agents_quarantined", "waiting"}, Links: []string{"/v1/scopes", "/v1/approvals"}},
			{Item: "19, logs kept by providers", Evidence: "[retention](retention.md): leaves stay, nothing drops them; for how long the rest is kept, and each change of that with who, when and why (`retention.list`, `retention.set`, `retention.reset`); legal holds (`audit.hold`, `audit.release`) keep what it would drop",
				Figures: []string{"checkpoint", "holds"}, Links: []string{"/v1/retention", "/v1/holds"}},
			{Item: "26(6), logs kept by deployers", Evidence: "the same, for each network by itself",
				Figures: []string{"checkpoint", "holds"}, Links: []string{"/v1/holds"}},
		}},
		{ID: "nist", Name: "NIST AI RMF 1.0", Rules: []Rule{
			{Item: "Govern", Evidence: "mandates and owners (`mandate.open`, `mandate.attest`), policies with their history (`policy.list`), two persons for what cannot be undone (`two-person`)",
				Figures: []string{"policy", "held_week"}, Links: []string{"/v1/mandates", "/v1/policies"}},
			{Item: "Map", Evidence: "agents, classes, owners, lines (`agent.list`, `class.list`, `agent.line`, `owner.list`)",
				Figures: []string{"agents_active", "agents_requested", "agents_expired"}, Links: []string{"/v1/agents", "/v1/classes", "/v1/owners"}},
			{Item: "Measure", Evidence: "drills, `reef bench`, metrics; how often likeness is wrong, with every answer of `trace.blast`",
				Figures: []string{"drill_default-deny", "drill_halt", "drill_kill"}, Links: []string{"/v1/trace/blast/{subject}"}},
			{Item: "Manage", Evidence: "containment (`scope.list`, `trace.contain`), roll-outs taken back (`rollout.revert`), restores",
				Figures: []string{"contained", "agents_quarantined"}, Links: []string{"/v1/scopes", "/v1/trace/recalls"}},
		}},
		{ID: "own", Name: "Our own reading", Ours: true, Rules: []Rule{
			{Item: "DORA (Regulation (EU) 2022/2554) art. 9, 12", Evidence: "integrity of logs: the tree, marks and witnesses; backups and restores that are tried (`network.backup`, `reef backup verify`, `network.restore`)",
				Figures: []string{"checkpoint", "cosignatures"}, Links: []string{"/v1/log"}},
			{Item: "HIPAA § 164.312(b), (c)", Evidence: "audit controls: the record; integrity: `reef audit verify`, erasure that leaves proofs whole (`content.erase`)",
				Figures: []string{"checkpoint", "erasures_week", "holds"}, Links: []string{"/v1/log/proof", "/v1/holds"}},
			{Item: "HIPAA § 164.312(a), (d)", Evidence: "access: policies and refusals; authentication: `session.open`, `token.issue`",
				Figures: []string{"refusals_week", "policy"}, Links: []string{"/v1/policies", "/v1/identity/inventory"}},
			{Item: "SOC 2 CC6, CC7", Evidence: "access: roles and `identity.inventory`; monitoring: refusals, drills, `reef_record_good`, `reef_witness_good`",
				Figures: []string{"refusals_week", "drill_kill", "checkpoint"}, Links: []string{"/v1/identity/inventory", "/v1/log"}},
			{Item: "SOC 2 CC8", Evidence: "changes: `policy.activate`, `manifest.apply`, `class.put`, each with who and why",
				Figures: []string{"policy"}, Links: []string{"/v1/policies", "/v1/manifest/objects"}},
		}},
	}
}
