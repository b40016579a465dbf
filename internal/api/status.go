package api

import (
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Status returns the HTTP status that every door answers an error's code with.
func Status(code act.Code) int {
	switch code {
	case act.Internal:
		return http.StatusInternalServerError
	case act.Invalid:
		return http.StatusBadRequest
	case act.Unauthenticated:
		return http.StatusUnauthorized
	case act.Denied:
		return http.StatusForbidden
	case act.NotFound:
		return http.StatusNotFound
	case act.Conflict:
		return http.StatusConflict
	case act.TooLarge:
		return http.StatusRequestEntityTooLarge
	case act.RateLimited:
		return http.StatusTooManyRequests
	case act.Unavailable:
		return http.StatusServiceUnavailable
	case act.Gone:
		return http.StatusGone
	case act.Mismatch:
		return http.StatusUnprocessableEntity
	case act.Method:
		return http.StatusMethodNotAllowed
	case act.Held:
		return http.StatusAccepted
	}
	return http.StatusInternalServerError
}
