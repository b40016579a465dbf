// Package passkey lets operators prove with a passkey that it is they who act: Web
// Authentication Level 3, with the two ceremonies of a session that is open already.
//
// It hides the protocol and its library (go-webauthn is known here alone), how challenges
// are made, and the table passkey.
//
// It promises:
//   - a challenge is made here, good for one ceremony of one kind in one session, for five
//     minutes, and spent in the transaction that takes its answer;
//   - whoever answers was there and unlocked the authenticator (user verification), on a
//     page of the network's own public address: https, or http on localhost;
//   - a passkey is its operator's: nobody else adds, sees, uses or removes it;
//   - a counter that has gone back, which is what a copied key looks like, is refused;
//   - with a passkey go the marks that it, or another of the same operator, has left on
//     sessions and consents.
//
// Nobody signs in by a passkey: it marks a session that was opened otherwise. What the
// mark is good for, policy says (principal.passkey).
//
// Table: passkey. Entry points: [New], [Keeper.ToAdd], [Keeper.ToProve]. Read keeper.go,
// then challenge.go and ceremony.go.
package passkey
