package secrettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// AWS is a double of AWS Secrets Manager: the JSON 1.1 protocol with signatures that
// are verified by making them again, version stages, and the errors that a client has
// to tell apart.
type AWS struct {
	URL    string
	Region string
	Keys   aws.Credentials // what is let in

	mu       sync.Mutex
	secrets  map[string]*awsSecret // guarded by mu
	fault    string                // guarded by mu: the error of every call; "" for none
	down     bool                  // guarded by mu
	hung     chan struct{}         // guarded by mu: closed when answers come again; nil when they do
	refused  int                   // guarded by mu: calls whose signature was not right
	accepted map[string]int        // guarded by mu: calls by operation
}

type awsSecret struct {
	versions map[string]awsVersion
	stages   map[string]string // label: version
	deleted  bool
}

type awsVersion struct {
	binary []byte
	text   *string
	made   time.Time
}

// awsCall is everything that the operations take.
type awsCall struct {
	SecretId, Name, ClientRequestToken, VersionId, VersionStage string
	SecretBinary                                                []byte
	SecretString                                                *string
	VersionStages                                               []string
	MoveToVersionId, RemoveFromVersionId                        string
	ForceDeleteWithoutRecovery                                  bool
}

// NewAWS starts a double on loopback, which ends with the test.
func NewAWS(t testing.TB) *AWS {
	t.Helper()
	a := &AWS{
		Region: "eu-central-1", secrets: make(map[string]*awsSecret), accepted: make(map[string]int),
		Keys: aws.Credentials{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()},
	}
	s := httptest.NewServer(a)
	a.URL = s.URL
	t.Cleanup(func() {
		a.Slow(false)
		s.Close()
	})
	return a
}

func (a *AWS) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// Fail has every call answered by an error of that name, "" to stop.
func (a *AWS) Fail(code string) { a.set(func() { a.fault = code }) }

// Down has every connection cut.
func (a *AWS) Down(on bool) { a.set(func() { a.down = on }) }

// Slow keeps answers back.
func (a *AWS) Slow(on bool) {
	a.set(func() {
		switch {
		case on && a.hung == nil:
			a.hung = make(chan struct{})
		case !on && a.hung != nil:
			close(a.hung)
			a.hung = nil
		}
	})
}

// Refused returns how many calls came with a signature that is not right.
func (a *AWS) Refused() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// Accepted returns how often an operation was called with a right signature.
func (a *AWS) Accepted(operation string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accepted[operation]
}

// Shell makes a secret without a value, as infrastructure as code does.
func (a *AWS) Shell(name string) {
	a.set(func() {
		a.secrets[name] = &awsSecret{versions: make(map[string]awsVersion), stages: make(map[string]string)}
	})
}

// Put makes content the current version of a secret, whatever is there.
func (a *AWS) Put(name string, content []byte) {
	a.set(func() {
		s := a.secrets[name]
		if s == nil {
			s = &awsSecret{versions: make(map[string]awsVersion), stages: make(map[string]string)}
			a.secrets[name] = s
		}
		s.put(rand.Text(), awsVersion{binary: content}, nil)
	})
}

// Stages returns which version each label of a secret is on.
func (a *AWS) Stages(name string) map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]string)
	for label, version := range a.secrets[name].stages {
		out[label] = version
	}
	return out
}

// ServeHTTP answers as Secrets Manager does.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	hung := a.hung
	a.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	operation, ours := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if err != nil || !ours || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		awsError(w, "UnknownOperationException", "this is no call of Secrets Manager")
		return
	}
	if why := a.verify(r, body); why != "" {
		a.refused++
		awsError(w, "InvalidSignatureException", why)
		return
	}
	a.accepted[operation]++
	if a.fault != "" {
		awsError(w, a.fault, "The call failed: "+string(body)) // a message may repeat what was sent
		return
	}
	var call awsCall
	if err := json.Unmarshal(body, &call); err != nil {
		awsError(w, "SerializationException", err.Error())
		return
	}
	answer, code, message := a.do(operation, call)
	if code != "" {
		awsError(w, code, message)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// verify makes the signature again from what was sent and compares (AWS Signature
// Version 4). It returns why it is not right.
func (a *AWS) verify(r *http.Request, body []byte) string {
	given := r.Header.Get("Authorization")
	parts := make(map[string]string)
	rest, v4form := strings.CutPrefix(given, "AWS4-HMAC-SHA256 ")
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	scope := fmt.Sprintf("%s/%s/%s/secretsmanager/aws4_request", a.Keys.AccessKeyID, at.Format("20060102"), a.Region)
	signed := strings.Split(parts["SignedHeaders"], ";")
	switch {
	case !v4form || err != nil:
		return "the signature has another form"
	case parts["Credential"] != scope:
		return "the credential is not for this service and region, or not known"
	case time.Since(at).Abs() > 15*time.Minute:
		return "the signature has expired"
	case !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date") || !slices.Contains(signed, "x-amz-target"):
		return "a header that matters is not signed"
	}
	again, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, a.URL+r.URL.RequestURI(), nil)
	if err != nil {
		return err.Error()
	}
	again.Host = r.Host
	for _, name := range signed {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = int64(len(body))
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(again.Context(), a.Keys, again, hex.EncodeToString(sum[:]), "secretsmanager", a.Region, at); err != nil {
		return err.Error()
	}
	made := again.Header.Get("Authorization")
	if i := strings.Index(made, "Signature="); i < 0 || made[i+len("Signature="):] != parts["Signature"] {
		return "the signature does not match what was sent"
	}
	return ""
}

func (a *AWS) do(operation string, c awsCall) (answer map[string]any, code, message string) {
	if operation == "CreateSecret" {
		if a.secrets[c.Name] != nil {
			return nil, "ResourceExistsException", "a secret of that name exists"
		}
		s := &awsSecret{versions: make(map[string]awsVersion), stages: make(map[string]string)}
		a.secrets[c.Name] = s
		if c.SecretBinary != nil || c.SecretString != nil {
			s.put(c.ClientRequestToken, awsVersion{binary: c.SecretBinary, text: c.SecretString}, nil)
		}
		return map[string]any{"ARN": a.arn(c.Name), "Name": c.Name, "VersionId": c.ClientRequestToken}, "", ""
	}
	s := a.secrets[c.SecretId]
	out := map[string]any{"ARN": a.arn(c.SecretId), "Name": c.SecretId}
	switch {
	case s == nil:
		return nil, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."
	case s.deleted && operation != "DescribeSecret":
		return nil, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."
	}
	switch operation {
	case "GetSecretValue":
		version := c.VersionId
		if version == "" {
			version = s.stages[orCurrent(c.VersionStage)]
		}
		v, ok := s.versions[version]
		if !ok {
			return nil, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label"
		}
		out["VersionId"], out["VersionStages"], out["CreatedDate"] = version, s.labels(version), float64(v.made.UnixMilli())/1000
		if v.text != nil {
			out["SecretString"] = *v.text
		} else {
			out["SecretBinary"] = base64.StdEncoding.EncodeToString(v.binary)
		}
	case "DescribeSecret":
		out["VersionIdsToStages"] = s.byVersion()
	case "ListSecretVersionIds":
		var list []map[string]any
		for version, labels := range s.byVersion() {
			list = append(list, map[string]any{"VersionId": version, "VersionStages": labels})
		}
		out["Versions"] = list
	case "PutSecretValue":
		if len(c.ClientRequestToken) < 32 || len(c.ClientRequestToken) > 64 {
			return nil, "InvalidParameterException", "ClientRequestToken must have 32 to 64 characters"
		}
		next := awsVersion{binary: c.SecretBinary, text: c.SecretString}
		if old, ok := s.versions[c.ClientRequestToken]; ok && !old.same(next) {
			return nil, "ResourceExistsException", "A version with that token exists, with another value."
		}
		s.put(c.ClientRequestToken, next, c.VersionStages)
		out["VersionId"], out["VersionStages"] = c.ClientRequestToken, s.labels(c.ClientRequestToken)
	case "UpdateSecretVersionStage":
		if why := s.move(c); why != "" {
			return nil, "InvalidParameterException", why
		}
	case "DeleteSecret":
		s.deleted = true
		if c.ForceDeleteWithoutRecovery {
			delete(a.secrets, c.SecretId)
		}
	default:
		return nil, "UnknownOperationException", operation
	}
	return out, "", ""
}

func (a *AWS) arn(name string) string {
	return "arn:aws:secretsmanager:" + a.Region + ":123456789012:secret:" + name + "-a1b2c3"
}

func orCurrent(label string) string {
	if label == "" {
		return "AWSCURRENT"
	}
	return label
}

func (v awsVersion) same(w awsVersion) bool {
	if v.text == nil || w.text == nil {
		return v.text == w.text && bytes.Equal(v.binary, w.binary)
	}
	return *v.text == *w.text
}

// put adds a version. Without labels it becomes the current one.
func (s *awsSecret) put(id string, v awsVersion, labels []string) {
	v.made = time.Now()
	s.versions[id] = v
	if len(labels) == 0 || s.stages["AWSCURRENT"] == "" { // the first one is always current
		s.become(id)
	}
	for _, label := range labels {
		s.stages[label] = id
	}
}

func (s *awsSecret) become(id string) {
	if now := s.stages["AWSCURRENT"]; now != "" && now != id {
		s.stages["AWSPREVIOUS"] = now
	}
	s.stages["AWSCURRENT"] = id
}

// move moves a label, and refuses when it is not where the caller believes.
func (s *awsSecret) move(c awsCall) (why string) {
	now := s.stages[c.VersionStage]
	if _, ok := s.versions[c.MoveToVersionId]; c.MoveToVersionId != "" && !ok {
		return "there is no such version"
	}
	if now != c.RemoveFromVersionId {
		return fmt.Sprintf("The staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", c.VersionStage, now)
	}
	switch {
	case c.MoveToVersionId == "" && c.VersionStage == "AWSCURRENT":
		return "AWSCURRENT can only be moved"
	case c.MoveToVersionId == "":
		delete(s.stages, c.VersionStage)
	case c.VersionStage == "AWSCURRENT":
		s.become(c.MoveToVersionId)
	default:
		s.stages[c.VersionStage] = c.MoveToVersionId
	}
	return ""
}

func (s *awsSecret) labels(version string) []string {
	var list []string
	for label, on := range s.stages {
		if on == version {
			list = append(list, label)
		}
	}
	slices.Sort(list)
	return list
}

func (s *awsSecret) byVersion() map[string][]string {
	out := make(map[string][]string)
	for version := range s.versions {
		if labels := s.labels(version); len(labels) > 0 {
			out[version] = labels
		}
	}
	return out
}

func awsError(w http.ResponseWriter, code, message string) {
	status := http.StatusBadRequest
	if code == "InternalServiceError" {
		status = http.StatusInternalServerError
	}
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}
