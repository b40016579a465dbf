package gate

import (
	"fmt"
	"strings"
)

// OperatorRoles are the roles of a human who governs. What each may do is the
// policy's to say (Role::"responder" there); whoever has none may do nothing.
type OperatorRoles uint8

// The roles. Bits are stored.
const (
	OperatorAdmin     OperatorRoles = 1 << iota // keeps the network, and whatever the others may do
	OperatorApprover                            // decides about what waits for a human
	OperatorResponder                           // stops and contains agents
	OperatorAuditor                             // reads what is on record, changes nothing
	OperatorObserver                            // reads what agents read
	OperatorOwner                               // answers for agents of their own, and governs nothing

	everyOperatorRole = OperatorOwner<<1 - 1
)

var operatorRoleNames = [...]string{"admin", "approver", "responder", "auditor", "observer", "owner"}

// OperatorRoleNames lists the names of the roles as policies and settings have them.
func OperatorRoleNames() []string { return operatorRoleNames[:] }

// ParseOperatorRole returns the role of a name.
func ParseOperatorRole(name string) (OperatorRoles, error) {
	for n, known := range operatorRoleNames {
		if name == known {
			return 1 << n, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(operatorRoleNames[:], ", "))
}

// Names lists the roles that are in r, in their order.
func (r OperatorRoles) Names() []string {
	names := []string{}
	for n, name := range operatorRoleNames {
		if r>>n&1 == 1 {
			names = append(names, name)
		}
	}
	return names
}

// Valid reports whether r holds at least one role, and nothing else.
func (r OperatorRoles) Valid() bool { return r != 0 && r&^everyOperatorRole == 0 }
