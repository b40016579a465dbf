package token

import (
	"maps"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A row says what a rule's refusal tells the caller. Nothing in it comes from
// what was sent.
type row struct {
	code          act.Code
	message, hint string
}

const (
	hintToken     = "ask the token endpoint for a new access token and send it unchanged"
	hintProof     = "make a fresh DPoP proof for every request (RFC 9449 §4.2)"
	hintAssertion = "make a fresh client assertion for every token request (RFC 7523 §3)"
	hintScope     = "name acts (post.create), nouns (post.*) or *, separated by single spaces"
	hintForeign   = "the other issuer's assertion must be fresh and made for this network (RFC 7523 §3)"
	hintCommand   = "sign a new one on the machine that has the command key (reef command sign)"
	hintKey       = "send the public half of an Ed25519 or P-256 key as a JWK (RFC 7517) and nothing else of it"
)

// rows are the rules of this package. The part before the dot says what is at
// fault; doors turn it into their protocol's error.
var rows = map[string]row{
	"token.malformed": {act.Unauthenticated, "this is no access token", hintToken},
	"token.size":      {act.Unauthenticated, "this is too long for an access token", hintToken},
	"token.type":      {act.Unauthenticated, "this is a token of another kind", "send an access token (typ at+jwt), no proof, assertion or proof of identity"},
	"token.algorithm": {act.Unauthenticated, "access tokens are not signed by this algorithm", hintToken},
	"token.critical":  {act.Unauthenticated, "the token's header has members that access tokens do not have", hintToken},
	"token.key":       {act.Unauthenticated, "this network has no such signing key, or has it no more", hintToken},
	"token.signature": {act.Unauthenticated, "the token's signature does not verify", hintToken},
	"token.claims":    {act.Unauthenticated, "the token lacks a claim or has one in another form", hintToken},
	"token.unbound":   {act.Unauthenticated, "the token is not bound to a key or a certificate", "ask for a token with a DPoP proof or over a connection with a client certificate"},
	"token.issuer":    {act.Unauthenticated, "the token is another network's", "send each token to the network that issued it"},
	"token.audience":  {act.Unauthenticated, "the token was made for another audience", "exchange it for a token with the audience of whom you call (RFC 8693)"},
	"token.expired":   {act.Unauthenticated, "the token has expired", hintToken},
	"token.early":     {act.Unauthenticated, "the token is from the future", "set the clock: it may be wrong by 30 seconds"},
	"token.chain":     {act.Unauthenticated, "the token's chain of actors is malformed or too long", hintToken},
	"token.binding":   {act.Unauthenticated, "the token is bound to another key or certificate", "show the proof or the certificate of the key that the token was issued to"},

	"dpop.malformed": {act.Unauthenticated, "this is no DPoP proof", hintProof},
	"dpop.size":      {act.Unauthenticated, "this is too long for a DPoP proof", hintProof},
	"dpop.type":      {act.Unauthenticated, "the DPoP proof is a token of another kind", "set typ to dpop+jwt (RFC 9449 §4.2)"},
	"dpop.algorithm": {act.Unauthenticated, "DPoP proofs are not signed by this algorithm", "sign with EdDSA (Ed25519) or ES256"},
	"dpop.critical":  {act.Unauthenticated, "the DPoP proof's header asks for something that is not done here", "leave out crit, b64, zip, jku and x5u"},
	"dpop.key":       {act.Unauthenticated, "the DPoP proof's key is not one that is taken here", hintKey},
	"dpop.signature": {act.Unauthenticated, "the DPoP proof's signature does not verify", hintProof},
	"dpop.claims":    {act.Unauthenticated, "the DPoP proof lacks a claim or has one in another form", "it has jti, htm, htu and iat, with an access token ath, with a nonce nonce (RFC 9449 §4.2)"},
	"dpop.method":    {act.Unauthenticated, "the DPoP proof was made for another method", hintProof},
	"dpop.url":       {act.Unauthenticated, "the DPoP proof was made for another address", "htu is the address under the network's public URL, without query and fragment"},
	"dpop.token":     {act.Unauthenticated, "the DPoP proof was made for another access token", "set ath to the hash of the access token that is sent with it"},
	"dpop.expired":   {act.Unauthenticated, "the DPoP proof is too old", hintProof + "; iat may be off by 30 seconds"},
	"dpop.early":     {act.Unauthenticated, "the DPoP proof is from the future", hintProof + "; iat may be off by 30 seconds"},
	"dpop.nonce":     {act.Unauthenticated, "the DPoP proof has no nonce of this network that is still good", "make the proof again with the nonce of the DPoP-Nonce header (RFC 9449 §8)"},
	"dpop.replayed":  {act.Unauthenticated, "the DPoP proof was shown before", hintProof + " with a jti of its own"},
	"dpop.full":      {act.Unavailable, "too many proofs are remembered to take another one", "your credential is fine; come back after the given time"},

	"assertion.malformed": {act.Unauthenticated, "this is no client assertion", hintAssertion},
	"assertion.size":      {act.Unauthenticated, "this is too long for a client assertion", hintAssertion},
	"assertion.type":      {act.Unauthenticated, "the client assertion is a token of another kind", "leave typ out, or set it to JWT or client-authentication+jwt"},
	"assertion.algorithm": {act.Unauthenticated, "client assertions are not signed by this algorithm", "sign with EdDSA (Ed25519) or ES256"},
	"assertion.critical":  {act.Unauthenticated, "the client assertion's header asks for something that is not done here", "leave out crit, b64, zip, jku, x5u and jwk"},
	"assertion.key":       {act.Unauthenticated, "the client has no such key", "sign with a key that is enrolled; set kid to its thumbprint (RFC 7638)"},
	"assertion.signature": {act.Unauthenticated, "the client assertion's signature does not verify", "sign with a key that is enrolled; set kid to its thumbprint (RFC 7638)"},
	"assertion.claims":    {act.Unauthenticated, "the client assertion lacks a claim or has one in another form", "it has iss, sub, aud, exp and jti (RFC 7523 §3)"},
	"assertion.client":    {act.Unauthenticated, "issuer and subject of the client assertion are not one client", "set iss and sub to the client's id"},
	"assertion.audience":  {act.Unauthenticated, "the client assertion was made for another audience", "set aud to the issuer's URL, as one text: no list, no endpoint"},
	"assertion.expired":   {act.Unauthenticated, "the client assertion has expired", hintAssertion},
	"assertion.early":     {act.Unauthenticated, "the client assertion is from the future", hintAssertion + "; clocks may differ by 30 seconds"},
	"assertion.life":      {act.Unauthenticated, "the client assertion lives too long", "set exp to ten minutes from now at the most"},
	"assertion.replayed":  {act.Unauthenticated, "the client assertion was shown before", hintAssertion + " with a jti of its own"},

	"grant.malformed": {act.Unauthenticated, "this is no assertion of another issuer", hintForeign},
	"grant.size":      {act.Unauthenticated, "this is too long for another issuer's assertion", hintForeign},
	"grant.type":      {act.Unauthenticated, "the other issuer's assertion is a token of another kind", "send an assertion, no access token: typ is left out, JWT, or oauth-id-jag+jwt"},
	"grant.algorithm": {act.Unauthenticated, "the other issuer's key does not sign by this algorithm", "the algorithms are RS256, PS256, ES256, ES384 and EdDSA"},
	"grant.critical":  {act.Unauthenticated, "the header of the other issuer's assertion asks for something that is not done here", "it has no crit, b64, zip, jku, x5u or jwk"},
	"grant.key":       {act.Unauthenticated, "the other issuer has no such key", "the operator can have the issuer's key set read again"},
	"grant.signature": {act.Unauthenticated, "the signature of the other issuer's assertion does not verify", hintForeign},
	"grant.claims":    {act.Unauthenticated, "the other issuer's assertion lacks a claim or has one in another form", "it has iss, sub, aud and exp (RFC 7523 §3)"},
	"grant.issuer":    {act.Unauthenticated, "the assertion is by another issuer than was configured", hintForeign},
	"grant.audience":  {act.Unauthenticated, "the other issuer's assertion was made for another audience", hintForeign},
	"grant.expired":   {act.Unauthenticated, "the other issuer's assertion has expired", hintForeign},
	"grant.early":     {act.Unauthenticated, "the other issuer's assertion is from the future", hintForeign},
	"grant.life":      {act.Unauthenticated, "the other issuer's assertion lives longer than a day", hintForeign},

	"command.malformed": {act.Unauthenticated, "this is no command", "send the document that reef command sign prints, whole and unchanged"},
	"command.size":      {act.Unauthenticated, "this is too long for a command", "a reason has 500 characters at the most"},
	"command.type":      {act.Unauthenticated, "this is a token of another kind, and no command", "commands have the typ reef-command+jwt; reef command sign makes them"},
	"command.algorithm": {act.Unauthenticated, "commands are not signed by this algorithm, or not with this key", "sign with EdDSA (Ed25519) or ES256, as the key is"},
	"command.critical":  {act.Unauthenticated, "the command's header has members that commands do not have", "it has alg, kid and typ and nothing else"},
	"command.key":       {act.Unauthenticated, "this network knows no such command key, or knows it no more", "kid is the thumbprint of a key that was registered (reef command key); reef identity inventory lists those there are"},
	"command.signature": {act.Unauthenticated, "the command's signature does not verify", hintCommand},
	"command.claims":    {act.Unauthenticated, "the command lacks a claim, has one in another form, or one that is not known here", "it has aud, do, target, reason, jti, iat and exp and nothing else"},
	"command.audience":  {act.Unauthenticated, "the command is for another network", "send it to the network that its aud names"},
	"command.expired":   {act.Unauthenticated, "the command has expired", hintCommand},
	"command.early":     {act.Unauthenticated, "the command is from the future", "set the clock of the machine that signs: it may be wrong by 30 seconds"},
	"command.life":      {act.Unauthenticated, "the command lives too long, or not at all", "set exp to a day after iat at the most"},

	"key.set":  {act.Invalid, "this is no set of public keys that are taken here", "it is a JWK set (RFC 7517 §5) with RSA keys of 2048 bits or more, P-256, P-384 or Ed25519 keys"},
	"key.form": {act.Invalid, "this is no public key that is taken here", hintKey},

	"scope.missing":    {act.Invalid, "no scope was asked for", hintScope},
	"scope.malformed":  {act.Invalid, "the scope is malformed", hintScope},
	"scope.beyond":     {act.Denied, "nothing of the scope that was asked for is held", "ask for acts that the presented authority covers"},
	"target.beyond":    {act.Denied, "the presented authority is not good for this audience", "ask for an audience that the presented authority covers"},
	"exchange.depth":   {act.Denied, "the authority cannot be handed on once more", "a chain has five members at the most; hand on from nearer to its beginning"},
	"exchange.site":    {act.Denied, "the presented authority is not good at this site", "ask for a site that the presented authority covers"},
	"exchange.expired": {act.Denied, "the presented authority has no time left", "get a fresh one first"},
}

// refuse makes the error of a rule.
func refuse(rule string) error {
	r := rows[rule]
	e := act.Errorf(r.code, "%s", r.message).WithRule(rule).WithHint(r.hint)
	if r.code == act.Unavailable {
		e = e.WithRetry(retryFull)
	}
	return e
}

const retryFull = 5 * time.Second

// Refuse returns the refusal by one of this package's [Rules], for those who
// find out themselves what only they can: that a proof was replayed, say.
func Refuse(rule string) error { return refuse(rule) }

// Rules lists the rules by which this package refuses, so that a door can be
// held to have an answer for each.
func Rules() []string { return slices.Sorted(maps.Keys(rows)) }
