package resource

import (
	"context"
	"errors"
	"fmt"

	"github.com/cosi-project/runtime/api/v1alpha1"
)

// Change says what happened to a resource.
type Change int

// Changes.
const (
	Created   Change = iota // it is new, or was there when the watch began
	Updated                 // its version has grown
	Destroyed               // it is gone, or was not there when the watch began
)

// String is the word that talosctl prints.
func (c Change) String() string {
	return [...]string{Created: "created", Updated: "updated", Destroyed: "destroyed"}[c]
}

// Event is one change that a watch has seen.
type Event struct {
	Change   Change
	Resource *Resource
}

// Watch calls each for the resources that are there and then for every change,
// until ctx is done, the node ends the watch, or each returns an error. With an
// id, only that resource is watched. The error is never nil.
//
// After the resources that were there at the beginning, each is called once
// with a nil event, so that a table knows when to print its first rows.
func (c *Client) Watch(ctx context.Context, namespace, typ, id string, each func(*Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.api.Watch(c.outgoing(ctx), watchRequest(namespace, typ, id))
	if err != nil {
		return rpcError("watching %s", err, typ)
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return rpcError("watching %s", err, typ)
		}
		for _, e := range answer.GetEvent() {
			if err := deliver(e, id != "", each); err != nil {
				return fmt.Errorf("watching %s: %w", typ, err)
			}
		}
	}
}

func watchRequest(namespace, typ, id string) *v1alpha1.WatchRequest {
	q := &v1alpha1.WatchRequest{
		Namespace:  namespace,
		Type:       typ,
		Options:    &v1alpha1.WatchOptions{},
		ApiVersion: 1, // from 1 on, the node says when the initial resources are complete
	}
	if id == "" {
		q.Options.BootstrapContents = true
	} else {
		q.Id = &id // its state comes as the first event, and nothing marks the end
	}
	return q
}

// deliver translates an event. single is set for a watch of one id.
func deliver(e *v1alpha1.Event, single bool, each func(*Event) error) error {
	var change Change
	switch e.GetEventType() {
	case v1alpha1.EventType_CREATED:
		change = Created
	case v1alpha1.EventType_UPDATED:
		change = Updated
	case v1alpha1.EventType_DESTROYED:
		change = Destroyed
	case v1alpha1.EventType_BOOTSTRAPPED:
		return each(nil)
	case v1alpha1.EventType_ERRORED:
		return errors.New(printable(e.GetError()))
	default: // a kind of event that is younger than this client
		return nil
	}
	r, err := decode(e.GetResource())
	if err != nil {
		return err
	}
	if err := each(&Event{Change: change, Resource: r}); err != nil || !single {
		return err
	}
	return each(nil)
}
