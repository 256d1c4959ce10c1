package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// settingsBodyLimit has room for store.MaxSettingsBytes of text with its escapes.
const settingsBodyLimit = 8 << 20

const aboutSettings = "They are laid over each keeper's file, and its environment over them. They are refused where this keeper cannot take all of them over, or where they say what is one machine's own."

// Settings are those that all keepers on a store share.
type Settings struct {
	// Now returns them: store.ErrNotFound where there are none.
	Now func(ctx context.Context) (store.Settings, error)
	// Put keeps a text of settings and takes it over, or neither: an *SettingsError.
	Put func(ctx context.Context, text []byte) (Reloaded, error)
	// Delete removes them and takes that over: store.ErrNotFound where there are none.
	Delete func(ctx context.Context) (Reloaded, error)
}

// errUnshared: keeper dev has no configuration.
var errUnshared = &SettingsError{errors.New("this keeper, as keeper dev, has none that could be shared")}

type sharedSettingsBody struct {
	Text      string    `json:"text" doc:"Of a configuration, in YAML"`
	UpdatedAt time.Time `json:"updatedAt" doc:"When they were put"`
	SHA256    string    `json:"sha256" doc:"Of the text, in hex"`
}

func (s *surface) settingsNow(ctx context.Context, _ *struct{}) (*output[sharedSettingsBody], error) {
	if s.settings.Now == nil {
		return nil, store.ErrNotFound
	}
	is, err := s.settings.Now(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(is.Text)
	return &output[sharedSettingsBody]{sharedSettingsBody{string(is.Text), is.UpdatedAt.UTC(), hex.EncodeToString(sum[:])}}, nil
}

type putSettingsInput struct {
	Body putSettingsRequest `nameHint:"SharedSettingsRequest"`
}

type putSettingsRequest struct {
	Text string `json:"text" minLength:"1" maxLength:"1048576" doc:"Of a configuration, in YAML; 1 MiB at most"`
}

func (s *surface) putSettings(ctx context.Context, in *putSettingsInput) (*output[reloadedBody], error) {
	if s.settings.Put == nil {
		return nil, errUnshared
	}
	if len(in.Body.Text) > store.MaxSettingsBytes {
		return nil, &fieldError{"text", "it is too long; 1 MiB is the most"}
	}
	if err := s.checkKept("text", in.Body.Text); err != nil {
		return nil, err
	}
	return reloaded(s.settings.Put(ctx, []byte(in.Body.Text)))
}

func (s *surface) deleteSettings(ctx context.Context, _ *struct{}) (*output[reloadedBody], error) {
	if s.settings.Delete == nil {
		return nil, store.ErrNotFound
	}
	return reloaded(s.settings.Delete(ctx))
}
