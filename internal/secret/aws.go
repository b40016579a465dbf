package secret

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// AWSSettings say where AWS Secrets Manager keeps the rings. The credentials are those
// that the platform gives (AWS's default chain: a role of the machine, the pod or the
// task; a profile), never settings of ours.
type AWSSettings struct {
	Region   string `json:"region"`
	Prefix   string `json:"prefix"`   // of the secrets' names; "reefwarden" if "", and then "/" and the network's name
	KMSKey   string `json:"kms_key"`  // that encrypts them; the account's own if ""
	Profile  string `json:"profile"`  // of the shared configuration
	Endpoint string `json:"endpoint"` // of a private one; the region's if ""
}

func (s AWSSettings) check() error {
	if s.Region == "" {
		return errors.New("aws: region is missing")
	}
	for _, c := range s.Prefix {
		if !slices.Contains([]rune("/_+=.@-"), c) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("aws: %q cannot begin the name of a secret", s.Prefix)
		}
	}
	if s.Endpoint != "" {
		return checkURL("endpoint", s.Endpoint)
	}
	return nil
}

// AWS keeps a ring as the binary value of a secret of AWS Secrets Manager. A write puts
// a version beside the current one and then moves the label AWSCURRENT from the version
// that was read to it, which Secrets Manager refuses if it is not there any more: of two
// writers one wins. It is safe for concurrent use.
type AWS struct {
	name   string
	kms    string
	client *secretsmanager.Client
}

const (
	stageCurrent = "AWSCURRENT"
	stagePending = "AWSPENDING"
)

// NewAWS returns the store of one network's ring. It asks nobody yet.
func NewAWS(ctx context.Context, set AWSSettings, network string) (*AWS, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(set.Region), config.WithHTTPClient(http.NewBuildableClient().WithTimeout(storeTimeout)),
	}
	if set.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(set.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	if set.Prefix == "" {
		set.Prefix = "reefwarden"
	}
	var elsewhere error
	client := secretsmanager.NewFromConfig(c, func(o *secretsmanager.Options) {
		if set.Endpoint != "" {
			o.BaseEndpoint = &set.Endpoint
		} else if o.BaseEndpoint != nil { // AWS_ENDPOINT_URL or the profile
			elsewhere = checkURL("AWS's endpoint_url", *o.BaseEndpoint)
		}
	})
	if elsewhere != nil {
		return nil, elsewhere
	}
	return &AWS{name: set.Prefix + "/" + network, kms: set.KMSKey, client: client}, nil
}

// Read implements identity.KeyStore.
func (a *AWS) Read(ctx context.Context) (kept identity.Kept, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ask := &secretsmanager.GetSecretValueInput{SecretId: &a.name, VersionStage: aws.String(stageCurrent)}
	out, err := a.client.GetSecretValue(ctx, ask)
	if errors.Is(err, net.ErrClosed) { // while the answer came, which the SDK does not take for a reason to ask again
		out, err = a.client.GetSecretValue(ctx, ask)
	}
	if err != nil {
		if codeOf(err) == "ResourceNotFoundException" {
			return kept, fmt.Errorf("%s in AWS Secrets Manager: %w", a.name, fs.ErrNotExist)
		}
		return kept, a.refused("read", err)
	}
	kept.Ring, kept.Revision = out.SecretBinary, aws.ToString(out.VersionId)
	if len(kept.Ring) == 0 {
		return identity.Kept{}, act.Errorf(act.Invalid, "%s in AWS Secrets Manager has no binary value", a.name).WithRule("key.spoiled").
			WithHint("something else was put there; move AWSCURRENT back to the version before")
	}
	return kept, nil
}

// Write implements identity.KeyStore.
func (a *AWS) Write(ctx context.Context, ring []byte, over string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if over == "" {
		return a.create(ctx, ring)
	}
	// The token becomes the version's id.
	token := newToken()
	put, err := a.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &a.name, SecretBinary: ring, ClientRequestToken: &token, VersionStages: []string{stagePending},
	})
	if codeOf(err) == "ResourceNotFoundException" {
		return conflict("AWS Secrets Manager")
	}
	if err != nil {
		return a.refused("write", err)
	}
	_, err = a.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &a.name, VersionStage: aws.String(stageCurrent), MoveToVersionId: put.VersionId, RemoveFromVersionId: &over,
	})
	switch codeOf(err) {
	case "InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException":
		a.unlabel(ctx, put.VersionId)
		return conflict("AWS Secrets Manager")
	}
	if err != nil {
		return a.refused("write", err)
	}
	a.unlabel(ctx, put.VersionId)
	return nil
}

// create makes the secret. One that is there without a value, because somebody made it
// for us beforehand, gets its first version under an id that only one can use.
func (a *AWS) create(ctx context.Context, ring []byte) error {
	token := newToken()
	in := secretsmanager.CreateSecretInput{
		Name: &a.name, SecretBinary: ring, ClientRequestToken: &token,
		Description: aws.String("The ring of keys of a Reefwarden network. Without it the network is lost."),
	}
	if a.kms != "" {
		in.KmsKeyId = &a.kms
	}
	_, err := a.client.CreateSecret(ctx, &in)
	if err == nil {
		return nil
	}
	if codeOf(err) != "ResourceExistsException" {
		return a.refused("make", err)
	}
	about, err := a.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &a.name})
	if err != nil {
		return a.refused("describe", err)
	}
	if len(about.VersionIdsToStages) > 0 {
		return conflict("AWS Secrets Manager")
	}
	first := "reefwarden-ring-of-keys-first-version"
	_, err = a.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &a.name, SecretBinary: ring, ClientRequestToken: &first})
	if codeOf(err) == "ResourceExistsException" {
		return conflict("AWS Secrets Manager")
	}
	if err != nil {
		return a.refused("write", err)
	}
	return nil
}

// unlabel takes the label of a draft away: tools that rotate secrets look for it. It
// may be another writer's by now, and then nothing happens.
func (a *AWS) unlabel(ctx context.Context, version *string) {
	_, _ = a.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &a.name, VersionStage: aws.String(stagePending), RemoveFromVersionId: version,
	})
}

func newToken() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return hex.EncodeToString(id)
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// refused says what Secrets Manager answered, by its code.
func (a *AWS) refused(what string, err error) error {
	code := codeOf(err)
	e := act.Errorf(act.Denied, "AWS Secrets Manager refuses to %s %s (%s)", what, a.name, code).WithRule("key.store")
	switch code {
	case "":
		return unreachable("AWS Secrets Manager", a.name, err)
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException", "SignatureDoesNotMatch":
		return e.WithHint("the role that this machine has does not allow it: see docs/keys.md for what is needed")
	case "DecryptionFailure", "EncryptionFailure":
		return e.WithHint("the KMS key of the secret does not let this role in, or is disabled")
	case "InvalidRequestException":
		return e.WithHint("it may be marked for deletion: aws secretsmanager restore-secret; a new key would open nothing of the network")
	}
	e.Code = act.Unavailable
	return e.WithHint("it is asked again")
}
