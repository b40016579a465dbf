package token_test

import (
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// The examples of RFC 9449: a proof for the token endpoint (§4.1) and one for a
// protected resource (§7.1), both by the P-256 key whose thumbprint is in §6.1.
const (
	rfcKey = `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`
	rfcJKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

	rfcTokenProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19" +
		".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ" +
		".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcResourceToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcResourceProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19" +
		".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9" +
		".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)

func TestProofsOfRFC9449(t *testing.T) {
	for _, c := range []struct {
		proof, jti string
		request    token.Request
	}{
		{rfcTokenProof, "-BwC3ESc6acc2lTc", token.Request{
			Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0),
		}},
		{rfcResourceProof, "e1j3V_bKic8-LAEB", token.Request{
			Method: "GET", URL: "https://resource.example.org/protectedresource",
			AccessToken: rfcResourceToken, Now: time.Unix(1562262618, 0),
		}},
	} {
		p, err := token.ReadProof(c.proof, c.request)
		if err != nil {
			t.Fatalf("%s: %v (%s)", c.request.URL, err, ruleOf(err))
		}
		if p.JKT != rfcJKT || p.JTI != c.jti || p.Nonce != "" || !p.IssuedAt.Equal(c.request.Now) || p.Key.Algorithm() != token.ES256 {
			t.Errorf("%s: %+v", c.request.URL, p)
		}
		if err := (token.Confirm{JKT: rfcJKT}).CheckProof(p); err != nil {
			t.Errorf("the example's binding: %v", err)
		}
	}
}

// Thumbprints: the P-256 key of RFC 9449 §6.1 and the Ed25519 key of RFC 8037
// appendix A.3, by the method of RFC 7638 §3. Members that do not belong to the
// least JWK, their order and space do not matter.
func TestThumbprints(t *testing.T) {
	for _, c := range []struct{ jwk, want string }{
		{rfcKey, rfcJKT},
		{`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		{` { "x" : "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" , "use":"sig","alg":"Ed25519","kid":"laptop","key_ops":["verify"],"crv":"Ed25519","kty":"OKP"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		key, err := token.ParseJWK([]byte(c.jwk))
		if err != nil {
			t.Fatalf("%s: %v", c.jwk, err)
		}
		if key.Thumbprint() != c.want {
			t.Errorf("thumbprint %s, want %s", key.Thumbprint(), c.want)
		}
		again, err := token.ParseJWK(key.JWK())
		if err != nil || again.Thumbprint() != c.want {
			t.Errorf("written and read again: %s, %v", again.Thumbprint(), err)
		}
	}
}
