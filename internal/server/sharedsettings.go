package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

const (
	sharedBy    = "shared settings" // who reloads where another keeper changed them
	settleAgain = 10 * time.Second  // until what could not be taken over is tried again
)

// SharedSettings are those of all keepers on the store: store.ErrNotFound where there are
// none.
func (s *Server) SharedSettings(ctx context.Context) (store.Settings, error) {
	return s.rows.Settings(ctx)
}

// sharedText is the text of shared settings; nil where there are none.
func (s *Server) sharedText(ctx context.Context) ([]byte, error) {
	is, err := s.rows.Settings(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return append([]byte{}, is.Text...), nil
}

// sharedDigest is what tells shared settings from others; "" where there are none.
func sharedDigest(text []byte) string {
	if text == nil {
		return ""
	}
	return digestOf(text)
}

// PutSettings has all keepers on the store take settings over: this one before it returns,
// the others as they look. Where this one cannot, nothing is kept. The error is an
// *api.SettingsError then.
func (s *Server) PutSettings(ctx context.Context, text []byte) (api.Reloaded, error) {
	return s.changeSettings(ctx, append([]byte{}, text...), func(ctx context.Context) error {
		return s.rows.PutSettings(ctx, store.Settings{Text: text, UpdatedAt: s.clock().UTC().Truncate(time.Millisecond)})
	})
}

// DeleteSettings is PutSettings of none: store.ErrNotFound where there are none.
func (s *Server) DeleteSettings(ctx context.Context) (api.Reloaded, error) {
	if _, err := s.rows.Settings(ctx); err != nil {
		return api.Reloaded{}, err
	}
	return s.changeSettings(ctx, nil, s.rows.DeleteSettings)
}

func (s *Server) changeSettings(ctx context.Context, text []byte, write func(context.Context) error) (r api.Reloaded, err error) {
	if err := s.mayReload(); err != nil {
		return r, err
	}
	defer s.reloading.Unlock()
	before, err := s.sharedText(ctx)
	if err != nil {
		return r, err
	}
	return s.reload(ctx, text, func(ctx context.Context, c *change) error {
		e := audit.ConfigShared{Before: sharedDigest(before), After: sharedDigest(text)}
		if err := s.log.Record(ctx, e); err != nil {
			return fmt.Errorf("recording the shared settings: %w", err)
		}
		if err := write(ctx); err != nil {
			return err
		}
		err := s.recordReload(ctx, c)
		if err != nil {
			s.lookAtSettings() // what is kept is to be in force here, too
		}
		return err
	})
}

// openSettings takes over what is shared before keeper serves. Where it cannot, it does not
// serve: its own file may allow what the shared settings do not. Unless the operator
// accepts that.
func (s *Server) openSettings(ctx context.Context) error {
	if s.config.Reread == nil {
		return nil
	}
	text, err := s.sharedText(ctx)
	if err != nil {
		return fmt.Errorf("reading the shared settings: %w", err)
	}
	if text != nil {
		err = s.takeSettings(ctx, text)
	}
	s.inBackground(s.followSettings)
	return err
}

func (s *Server) takeSettings(ctx context.Context, text []byte) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	_, err := s.reload(ctx, text, func(context.Context, *change) error { return nil }) // the start says what is in force
	var wrong *api.SettingsError
	if !errors.As(err, &wrong) {
		return err
	}
	if !s.config.AcceptStore {
		return fmt.Errorf("taking over the settings that keepers share: %w; correct them at another keeper with `keeper config push`, or this keeper's own file; `keeper serve --accept-store` starts with its own file alone", wrong.Err)
	}
	s.lookAtSettings() // again, and then it is logged
	return nil
}

// noticeSettings has shared settings taken over that are not in force. It does not wait
// for that: those who look at the database do not have the time.
func (s *Server) noticeSettings(ctx context.Context) error {
	if s.config.Reread == nil {
		return nil
	}
	text, err := s.sharedText(ctx)
	if err == nil && sharedDigest(text) != *s.sharing.Load() {
		s.lookAtSettings()
	}
	return err
}

func (s *Server) lookAtSettings() {
	select {
	case s.otherSettings <- struct{}{}:
	default:
	}
}

// followSettings takes over what noticeSettings noticed, until ctx ends. What could not be
// taken over is tried again.
func (s *Server) followSettings(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.otherSettings:
		}
		for !s.reloading.TryLock() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(tryAgain):
			}
		}
		err := s.followOnce(audit.WithOrigin(ctx, audit.Origin{By: sharedBy}))
		s.reloading.Unlock()
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.config.Logger.ErrorContext(ctx, "shared settings not taken over: what was in force stays", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleAgain):
		case <-s.otherSettings:
		}
		s.lookAtSettings()
	}
}

// followOnce takes over the shared settings where others are in force. The caller holds
// reloading.
func (s *Server) followOnce(ctx context.Context) error {
	text, err := s.sharedText(ctx)
	if err != nil || sharedDigest(text) == *s.sharing.Load() {
		return err
	}
	_, err = s.reload(ctx, text, s.recordReload)
	return err
}
