package arch

import (
	"slices"
	"strings"
	"testing"
)

// keepers lists packages that only some of ours may import. The path stands for
// everything below it.
var keepers = []struct {
	path string
	in   []string
	why  string
}{
	{"database/sql", []string{"store"}, "domains write through store.Tx and never see a driver"},
	{"github.com/jackc/pgx", []string{"store", "bench"}, "the driver is inside store; bench has raw baselines"},
	{"zombiezen.com/go/sqlite", []string{"store", "bench"}, "the driver is inside store; bench has raw baselines"},
	{"modernc.org/sqlite", []string{"store", "bench"}, "the driver is inside store; bench has raw baselines"},
	{"github.com/pressly/goose", []string{"store"}, "only store knows how the schema comes to be"},
	{"github.com/nats-io", []string{"bus"}, "the bus is a signal behind bus; nothing else may come to rest on it"},
	{"github.com/spiffe", []string{"identity", "identity/svid", "egress"}, "SVIDs are made in identity and handed out beside agents in egress"},
	{"google.golang.org/grpc", []string{"egress"}, "the Workload API is the one thing that is spoken by gRPC"},
	{"go.opentelemetry.io", []string{"telemetry/otlp", "span"}, "traces and figures go out through otlp; span reads what agents send"},
	{"github.com/cedar-policy", []string{"policy"}, "the policy language is wrapped where it enters"},
	{"github.com/spf13", []string{"cli", "bench"}, "flags and commands end in cli and bench; below them there is server.Config"},
	{"sigs.k8s.io/structured-merge-diff", []string{"manifest"}, "who says which field is found out in manifest only"},
	{"github.com/coreos/go-oidc", []string{"identity/idp"}, "the protocol of identity providers is wrapped where it enters"},
	{"github.com/go-webauthn", []string{"identity/passkey"}, "the protocol of passkeys is wrapped where it enters"},
	{"golang.org/x/oauth2", []string{"identity/idp"}, "the protocol of identity providers is wrapped where it enters"},
	{"github.com/aws", []string{"secret"}, "cloud SDKs live in secret only"},
	{"github.com/openbao", []string{"secret"}, "vault clients live in secret only"},
	{"github.com/hashicorp/vault", []string{"secret"}, "vault clients live in secret only"},
	{"testing", nil, "test code does not go into the binary"},
	{"pgregory.net/rapid", nil, "test code does not go into the binary"},
	{"log", nil, "log with log/slog"},
	{"math/rand", nil, "use math/rand/v2, or crypto/rand for what a stranger must not guess"},
}

// Below a kept path there are a few packages with a life of their own.
var apart = []string{"log/slog", "math/rand/v2"}

// checkKeepers applies the list to product code; tests may look at anything,
// and the packages made for tests are tests.
func checkKeepers(tr *tree) (found []finding) {
	for _, f := range tr.files {
		if f.inTests() {
			continue
		}
		for _, spec := range f.file.Imports {
			p := importPath(spec)
			if slices.Contains(apart, p) {
				continue
			}
			for _, k := range keepers {
				if (p == k.path || strings.HasPrefix(p, k.path+"/")) && !slices.Contains(k.in, f.pkg) {
					found = append(found, tr.at(f, spec.Pos(), "%s imports %s: %s", f.pkg, p, k.why))
				}
			}
			if f.pkg == "act" && strings.Contains(strings.Split(p, "/")[0], ".") {
				if _, ours := projectPackage(p); !ours { // ours are checkEdges' business
					found = append(found, tr.at(f, spec.Pos(), "act imports %s: act imports the standard library only", p))
				}
			}
		}
	}
	return found
}

func TestImports(t *testing.T) {
	report(t, checkKeepers(repository(t)))
}

func TestImportsSelf(t *testing.T) {
	for _, c := range []struct{ file, imports, want string }{
		{"internal/store/a.go", "github.com/jackc/pgx/v5/pgxpool", ""},
		{"internal/network/a_test.go", "github.com/jackc/pgx/v5", ""},
		{"internal/store/storetest/a.go", "testing", ""},
		{"internal/network/a.go", "log/slog", ""},
		{"internal/network/a.go", "math/rand/v2", ""},
		{"internal/network/a.go", "math/rand", "math/rand/v2"},
		{"internal/network/a.go", "log", "log/slog"},
		{"internal/network/a.go", "database/sql", "never see a driver"},
		{"internal/network/a.go", "github.com/jackc/pgx/v5", "inside store"},
		{"internal/server/a.go", "testing/synctest", "into the binary"},
		{"internal/gate/a.go", "github.com/nats-io/nats.go", "a signal"},
		{"internal/act/a.go", "golang.org/x/text/unicode/norm", "standard library only"},
		{"internal/act/a.go", "encoding/json", ""},
	} {
		find(t, checkKeepers, sources{c.file: "package x\nimport _ \"" + c.imports + "\"\n"}, c.want)
	}
}

// What is linked follows from the imports of each package, but a mistake in
// the table would show here: these are the whole closures.
var closures = []struct {
	pkg    string
	banned []string
	why    string
}{
	{"internal/act", []string{module + "/"}, "act imports the standard library only"},
	{"internal/client", []string{module + "/internal/store", module + "/internal/gate"}, "the client is what a stranger would use"},
	{"internal/agent", []string{module + "/internal/store", module + "/internal/gate"}, "the runtime reaches the network over the wire only"},
	{"internal/egress", []string{module + "/internal/store", module + "/internal/gate"}, "the broker runs beside agents, away from the database"},
	{"cmd/reef", []string{module + "/internal/store/storetest", module + "/internal/server/servertest", module + "/internal/arch"}, "test code does not go into the binary"},
}

// banned returns the packages of deps that are below one of the prefixes. The
// package itself does not count.
func banned(pkg string, deps, prefixes []string) (bad []string) {
	for _, dep := range deps {
		for _, prefix := range prefixes {
			if dep != module+"/"+pkg && strings.HasPrefix(dep, prefix) {
				bad = append(bad, dep)
			}
		}
	}
	return bad
}

func TestClosures(t *testing.T) {
	tr := repository(t)
	for _, c := range closures {
		if !slices.ContainsFunc(tr.files, func(f *source) bool { return f.pkg == strings.TrimPrefix(c.pkg, "internal/") }) {
			continue // not built yet
		}
		out, err := goCommand("list", "-e", "-deps", "./"+c.pkg)
		if err != nil {
			t.Fatal(err)
		}
		deps := strings.Fields(string(out))
		if !slices.Contains(deps, module+"/"+c.pkg) {
			t.Errorf("go list -deps ./%s does not list the package itself", c.pkg)
		}
		for _, dep := range banned(c.pkg, deps, c.banned) {
			t.Errorf("%s links %s: %s", c.pkg, dep, c.why)
		}
	}
}

func TestClosuresSelf(t *testing.T) {
	deps := []string{"fmt", module + "/internal/agent", module + "/internal/store/storetest"}
	if got := banned("internal/agent", deps, []string{module + "/internal/store"}); len(got) != 1 {
		t.Errorf("banned = %q, want the one below store", got)
	}
	if got := banned("internal/agent", deps, []string{module + "/"}); len(got) != 1 {
		t.Errorf("banned = %q, want all of ours but the package itself", got)
	}
}
