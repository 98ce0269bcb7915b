package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"
)

// Codes of errors, as the specification lists them.
const (
	blobUnknown         = "BLOB_UNKNOWN"
	denied              = "DENIED"
	uploadInvalid       = "BLOB_UPLOAD_INVALID"
	uploadUnknown       = "BLOB_UPLOAD_UNKNOWN"
	digestInvalid       = "DIGEST_INVALID"
	manifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	manifestInvalid     = "MANIFEST_INVALID"
	manifestUnknown     = "MANIFEST_UNKNOWN"
	nameInvalid         = "NAME_INVALID"
	nameUnknown         = "NAME_UNKNOWN"
	sizeInvalid         = "SIZE_INVALID"
	unsupported         = "UNSUPPORTED"
	tooMany             = "TOOMANYREQUESTS"
)

// refusal is an error that the client is told.
type refusal struct {
	status  int
	code    string
	message string
}

// Error implements error.
func (e *refusal) Error() string { return e.message }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// answerError tells the client what is wrong. Of what is wrong on our side it is
// told no more than whether the disk is full: the rest is for Report.
func answerError(w http.ResponseWriter, r *http.Request, err error) {
	var e *refusal
	if !errors.As(err, &e) {
		e = &refusal{http.StatusInternalServerError, "UNKNOWN", "the registry has a problem of its own; see its output"}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			e = &refusal{http.StatusInsufficientStorage, "UNKNOWN", "the registry's disk is full"}
		}
		if a, ok := w.(*answer); ok {
			a.err = err
		}
	}
	if e.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": e.code, "message": e.message}}}) // strings only: cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone needs no answer
	}
}

// absent makes a file that does not exist the client's affair.
func absent(err error, code, format string, args ...any) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(http.StatusNotFound, code, format, args...)
	}
	return err
}
