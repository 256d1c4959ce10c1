package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Reloaded says what became of other settings.
type Reloaded struct {
	Changed []string // the names of those that are in force now
	Waiting []string // of those that wait for a start, since they cannot change before
}

// SettingsError says what is wrong with the configuration, of which then nothing was
// taken over.
type SettingsError struct{ Err error }

// Error implements error.
func (e *SettingsError) Error() string { return "reading the configuration: " + e.Err.Error() }

// Unwrap implements errors.
func (e *SettingsError) Unwrap() error { return e.Err }

type reloadedBody struct {
	Message string   `json:"message"`
	Changed []string `json:"changed" nullable:"false" doc:"Settings that are in force now, for new calls"`
	Waiting []string `json:"waiting" nullable:"false" doc:"Settings that are others than those in force, and wait for a start"`
}

func (s *surface) reloadNow(ctx context.Context, _ *struct{}) (*output[reloadedBody], error) {
	if s.reload == nil {
		return nil, &SettingsError{errors.New("this keeper, as keeper dev, has none to read again; stop it and start it anew")}
	}
	now, err := s.reload(ctx)
	if err != nil {
		return nil, err
	}
	body := reloadedBody{Message: now.sentence(), Changed: append([]string{}, now.Changed...), Waiting: append([]string{}, now.Waiting...)}
	return &output[reloadedBody]{body}, nil
}

func (r Reloaded) sentence() string {
	text := "Nothing changed."
	if len(r.Changed) > 0 {
		text = fmt.Sprintf("In force for new calls: %s.", strings.Join(r.Changed, ", "))
	}
	if len(r.Waiting) > 0 {
		text += fmt.Sprintf(" Waiting for a start: %s.", strings.Join(r.Waiting, ", "))
	}
	return text
}
