package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/secret/secrettest"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// asRole gives the test the credentials of a double, as a machine has those of its
// role, and nothing of what the machine that runs the test has.
func asRole(t *testing.T, a *secrettest.AWS) AWSSettings {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": a.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": a.Keys.SecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	return AWSSettings{Region: a.Region, Endpoint: a.URL}
}

func openAWS(t *testing.T, set AWSSettings) *AWS {
	t.Helper()
	s, err := NewAWS(t.Context(), set, "default")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clouds is the double of AWS Secrets Manager, for the conformance test.
func clouds() []peer {
	return []peer{{name: "double of aws", start: func(t *testing.T) fixture {
		a := secrettest.NewAWS(t)
		set := asRole(t, a)
		return fixture{
			open:  func(ctx context.Context) (identity.KeyStore, error) { return NewAWS(ctx, set, "default") },
			spoil: func(text []byte) { a.Put("reefwarden/default", text) },
			deny: func(on bool) {
				a.Fail(map[bool]string{true: "AccessDeniedException"}[on])
			},
			down: a.Down, slow: a.Slow,
			expire: func() {}, restart: func() {}, // there are no leases
		}
	}}}
}

// The labels are where other tools expect them, whoever wins.
func TestAWSStages(t *testing.T) {
	a := secrettest.NewAWS(t)
	set := asRole(t, a)
	s, name := openAWS(t, set), "reefwarden/default"
	if err := s.Write(t.Context(), ringOf(t), ""); err != nil {
		t.Fatal(err)
	}
	first := read(t, s)
	if err := s.Write(t.Context(), ringOf(t), first.Revision); err != nil {
		t.Fatal(err)
	}
	second := read(t, s)
	stages := a.Stages(name)
	if stages["AWSCURRENT"] != second.Revision || stages["AWSPREVIOUS"] != first.Revision || stages["AWSPENDING"] != "" {
		t.Errorf("the labels are %v", stages)
	}
	if err := s.Write(t.Context(), ringOf(t), first.Revision); act.CodeOf(err) != act.Conflict {
		t.Errorf("over an older version: %v", err)
	}
	if now := a.Stages(name); fmt.Sprint(now) != fmt.Sprint(stages) {
		t.Errorf("a write that was refused leaves the labels %v", now)
	}
	// A secret that infrastructure as code has made, without a value.
	a.Shell("ops/reef/default")
	set.Prefix = "ops/reef"
	shell := openAWS(t, set)
	if _, err := shell.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a secret without a value: %v", err)
	}
	ring := ringOf(t)
	if err := shell.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	if err := shell.Write(t.Context(), ringOf(t), ""); act.CodeOf(err) != act.Conflict {
		t.Errorf("made twice: %v", err)
	}
	if kept := read(t, shell); !bytes.Equal(kept.Ring, ring) {
		t.Error("the first ring is not kept")
	}
}

// What Secrets Manager answers is told apart, and nothing that was sent is repeated.
func TestAWSErrors(t *testing.T) {
	a := secrettest.NewAWS(t)
	set := asRole(t, a)
	s := openAWS(t, set)
	ring := []byte("CANARY-ring-of-keys-CANARY")
	if err := s.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	kept := read(t, s)
	for code, want := range map[string]act.Code{
		"AccessDeniedException": act.Denied, "DecryptionFailure": act.Denied, "InvalidRequestException": act.Denied, "ExpiredTokenException": act.Denied,
		"ThrottlingException": act.Unavailable, "InternalServiceError": act.Unavailable, "SomethingNewException": act.Unavailable,
	} {
		a.Fail(code)
		_, err := s.Read(t.Context())
		werr := s.Write(t.Context(), ring, kept.Revision)
		for _, err := range []error{err, werr} {
			if act.CodeOf(err) != want || errors.Is(err, fs.ErrNotExist) || act.AsError(err).Hint == "" {
				t.Errorf("%s: %v (%s), want %s", code, err, act.CodeOf(err), want)
			}
			if strings.Contains(fmt.Sprintf("%+v %v", err, act.AsError(err).Hint), "CANARY") {
				t.Errorf("%s: the error repeats what was sent: %v", code, err)
			}
		}
	}
	a.Fail("")
	if again := read(t, s); again.Revision != kept.Revision {
		t.Error("writes that failed have changed the ring")
	}
	// Another key, another region: the signature is not right.
	set.Region = "eu-west-1"
	if _, err := openAWS(t, set).Read(t.Context()); act.CodeOf(err) != act.Denied || a.Refused() != 1 {
		t.Errorf("signed for another region: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
	set.Region = a.Region
	if _, err := openAWS(t, set).Read(t.Context()); act.CodeOf(err) != act.Denied || a.Refused() != 2 {
		t.Errorf("signed with another key: %v", err)
	}
}

func TestAWSSettings(t *testing.T) {
	for what, set := range map[string]AWSSettings{
		"no region":               {},
		"a prefix of other signs": {Region: "eu-central-1", Prefix: "a b"},
		"in the clear":            {Region: "eu-central-1", Endpoint: "http://secrets.example"},
	} {
		if set.check() == nil {
			t.Errorf("%s is taken", what)
		}
	}
	good := AWSSettings{Region: "eu-central-1", Prefix: "ops/reef_1+=.@-", Endpoint: "https://vpce.example"}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	// What AWS's own settings say must not lead past that.
	good.Endpoint = ""
	for address, taken := range map[string]bool{"http://secrets.example": false, "https://vpce.example": true} {
		t.Setenv("AWS_ENDPOINT_URL", address)
		if _, err := NewAWS(t.Context(), good, "reef"); (err == nil) != taken {
			t.Errorf("AWS_ENDPOINT_URL=%s: %v", address, err)
		}
	}
}

// The double is kept honest by Amazon's other client: what the one writes the other
// reads, and both sign in a way that it verifies.
func TestThirdPartyAWSClient(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("..", "..", "test", "thirdparty"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@aws-sdk", "client-secrets-manager")); err != nil {
		storetest.Missing(t, "test/thirdparty lacks Amazon's client: run tools/setup.sh (%v)", err)
	}
	a := secrettest.NewAWS(t)
	set := asRole(t, a)
	s, ring := openAWS(t, set), ringOf(t)
	if err := s.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "aws.mjs", a.URL, a.Region, "reefwarden/default", fmt.Sprintf("%x", ring))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+a.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+a.Keys.SecretAccessKey)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "\nok "); got < 8 {
		t.Errorf("%d checks were done:\n%s", got, out)
	}
	if kept := read(t, s); string(kept.Ring) != "written by the other client, 32 b" {
		t.Errorf("what the other client has written is %q", kept.Ring)
	}
	// One call of it was made with a wrong key on purpose.
	if a.Refused() != 1 {
		t.Errorf("%d signatures were refused", a.Refused())
	}
}

// cut gives answers whose connection breaks while they come, n times.
type cut struct {
	n     int
	asked int
}

func (c *cut) Do(r *http.Request) (*http.Response, error) {
	c.asked++
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && c.asked <= c.n {
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(iotest.ErrReader(&net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}))
	}
	return resp, err
}

// A connection that breaks while a ring comes is no reason to be without keys; two are.
func TestAWSAsksOnceMore(t *testing.T) {
	a := secrettest.NewAWS(t)
	set, ring := asRole(t, a), ringOf(t)
	if err := openAWS(t, set).Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		s, wire := openAWS(t, set), &cut{n: n}
		s.client = secretsmanager.New(s.client.Options(), func(o *secretsmanager.Options) { o.HTTPClient = wire })
		kept, err := s.Read(t.Context())
		switch {
		case n < 2 && (err != nil || !bytes.Equal(kept.Ring, ring) || wire.asked != n+1):
			t.Errorf("broken %d times: %v, asked %d times", n, err, wire.asked)
		case n == 2 && act.CodeOf(err) != act.Unavailable:
			t.Errorf("broken twice: %v", err)
		}
	}
}
