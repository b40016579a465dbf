package act

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Error is the only error that crosses a door. Its text is safe to show to the
// caller: it never holds a secret, a driver's message or another agent's data.
type Error struct {
	Code       Code
	Message    string        // what is wrong, one sentence
	Hint       string        // what to do about it
	Rule       string        // the policy, quota or form rule that said no, if any
	RetryAfter time.Duration // when coming back makes sense; 0 if it does not
	Limit      *LimitState   // the quota's state when a quota was met
	cause      error         // for the log only
}

// LimitState is what a caller may know of the quota that governs it.
type LimitState struct {
	Limit     int       // acts a window
	Remaining int       // acts left in this window
	Reset     time.Time // when the window is over
	Daily     int       // acts left today where a daily limit applies, else -1
}

// Errorf makes an Error with a code and a message. With %w the wrapped error is
// kept for the log but its text is not shown: write the message so that it
// reads well without it.
func Errorf(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: wrapped.Error()}
	switch w := wrapped.(type) {
	case interface{ Unwrap() error }:
		if e.cause = w.Unwrap(); e.cause != nil {
			e.Message = trimCause(e.Message, e.cause.Error())
		}
	case interface{ Unwrap() []error }:
		e.cause = wrapped
		for _, cause := range slices.Backward(w.Unwrap()) {
			e.Message = trimCause(e.Message, cause.Error())
		}
	}
	return e
}

// trimCause takes the cause's text out of the message, wherever it stands, and
// what led up to it.
func trimCause(msg, cause string) string {
	if i := strings.LastIndex(msg, cause); i >= 0 {
		msg = strings.TrimRight(msg[:i], " :") + msg[i+len(cause):]
	}
	return strings.TrimRight(msg, " :")
}

// WithHint sets what the caller can do and returns e.
func (e *Error) WithHint(hint string) *Error { e.Hint = hint; return e }

// WithRule names the rule that said no and returns e.
func (e *Error) WithRule(rule string) *Error { e.Rule = rule; return e }

// WithRetry sets when coming back makes sense and returns e.
func (e *Error) WithRetry(d time.Duration) *Error { e.RetryAfter = d; return e }

// WithLimit attaches the state of a quota and returns e.
func (e *Error) WithLimit(l LimitState) *Error { e.Limit = &l; return e }

// Error returns the code and the message; the cause is left out.
func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Unwrap returns the cause, for errors.Is and the log.
func (e *Error) Unwrap() error { return e.cause }

// AsError returns err as an *Error; anything else becomes Internal with a text
// that says nothing of the cause, which stays reachable for the log.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{
		Code: Internal, Message: "the server failed to do this",
		Hint: "nothing was changed; if it goes on, tell the operator the time and the path", cause: err,
	}
}

// CodeOf returns the code of err: None without an error, Internal for a foreign
// one.
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	return AsError(err).Code
}
