package vault

import (
	"context"
	"slices"
)

// Expect has one place more in force.
func (v *Vault) Expect(r ExternalRequest) (*External, error) {
	a := v.Arrange(v.catalogue)
	a.places = slices.Clone(v.externals())
	e, err := a.Expect(r)
	if err != nil {
		return nil, err
	}
	_, err = a.Begin(context.Background())
	return e, err
}
