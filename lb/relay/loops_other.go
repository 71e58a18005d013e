//go:build !linux

package relay

import "context"

// Loops relays with Copy where there are no event loops.
type Loops struct{ Copy }

// Open returns Loops; n means nothing here.
func Open(int) (*Loops, error) { return &Loops{}, nil }

// Close does nothing.
func (*Loops) Close() {}

// Run waits until ctx is done. Pairs that are left go on.
func (*Loops) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
