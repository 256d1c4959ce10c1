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
	Waiting []Waiting
}

// Waiting is a setting that waits for a start, since it cannot change before.
type Waiting struct{ Setting, Why string }

// Names are those of the settings that wait.
func (r Reloaded) Names() []string {
	all := []string{}
	for _, one := range r.Waiting {
		all = append(all, one.Setting)
	}
	return all
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
	return reloaded(s.reload(ctx))
}

func reloaded(now Reloaded, err error) (*output[reloadedBody], error) {
	if err != nil {
		return nil, err
	}
	body := reloadedBody{Message: now.Sentence(), Changed: append([]string{}, now.Changed...), Waiting: now.Names()}
	return &output[reloadedBody]{body}, nil
}

// Sentence says it to people.
func (r Reloaded) Sentence() string {
	text := "Nothing changed."
	if len(r.Changed) > 0 {
		text = fmt.Sprintf("In force for new calls: %s.", strings.Join(r.Changed, ", "))
	}
	for i, one := range r.Waiting {
		switch {
		case i == 0:
			text += " Waiting for a start: " + one.Setting
		case one.Why == r.Waiting[i-1].Why:
			text += ", " + one.Setting
		default:
			text += "; " + one.Setting
		}
		if i+1 == len(r.Waiting) || r.Waiting[i+1].Why != one.Why {
			text += ", since " + one.Why
		}
	}
	if len(r.Waiting) > 0 {
		text += "."
	}
	return text
}
