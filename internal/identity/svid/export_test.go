package svid

import "crypto"

// Key returns the private half of a CA, for tests that forge.
func (ca *CA) Key() crypto.Signer { return ca.key }
