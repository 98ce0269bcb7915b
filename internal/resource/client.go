package resource

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// maxList bounds what a node may answer to one request in all, in bytes: the
// longest lists of a large cluster's node have less than a tenth of it.
const maxList = 64 << 20

// Resource is a resource of any type, as it came over the wire.
type Resource = protobuf.Resource

// Definition describes a type of resources.
type Definition = meta.ResourceDefinitionSpec

// Client asks a node for its resources.
type Client struct {
	conn *grpc.ClientConn
	api  v1alpha1.StateClient
	node string
}

// Dial connects to an endpoint and proves that it speaks the protocol. The
// error is a *DialError. If node is not empty, the endpoint is asked to pass
// every request on to that node, as Talos' API does.
func Dial(ctx context.Context, e Endpoint, config *tls.Config, node string) (*Client, error) {
	conn, err := connect(ctx, e, config)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, api: v1alpha1.NewStateClient(conn), node: node}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// outgoing names the node that the endpoint shall ask.
func (c *Client) outgoing(ctx context.Context) context.Context {
	if c.node == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "node", c.node)
}

// Definitions lists the types that the node knows.
func (c *Client) Definitions(ctx context.Context) ([]Definition, error) {
	items, err := c.List(ctx, meta.NamespaceName, meta.ResourceDefinitionType)
	if err != nil {
		return nil, err
	}
	defs := make([]Definition, 0, len(items))
	for _, item := range items {
		var d meta.ResourceDefinition
		if err := item.Unmarshal(&d); err != nil {
			return nil, fmt.Errorf("decoding the definition of %q: %w", item.Metadata().ID(), err)
		}
		defs = append(defs, *d.TypedSpec())
	}
	return defs, nil
}

// Get gives one resource.
func (c *Client) Get(ctx context.Context, namespace, typ, id string) (*Resource, error) {
	answer, err := c.api.Get(c.outgoing(ctx), &v1alpha1.GetRequest{
		Namespace: namespace,
		Type:      typ,
		Id:        id,
		Options:   &v1alpha1.GetOptions{},
	})
	if err != nil {
		return nil, rpcError("getting %s %q", err, typ, id)
	}
	return decode(answer.GetResource())
}

// List gives the resources of a type, ordered by id.
func (c *Client) List(ctx context.Context, namespace, typ string) ([]*Resource, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.api.List(c.outgoing(ctx), &v1alpha1.ListRequest{
		Namespace: namespace,
		Type:      typ,
		Options:   &v1alpha1.ListOptions{},
	})
	if err != nil {
		return nil, rpcError("listing %s", err, typ)
	}
	var items []*Resource
	for size := 0; size < maxList; {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, rpcError("listing %s", err, typ)
		}
		size += proto.Size(answer)
		r, err := decode(answer.GetResource())
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", typ, err)
		}
		items = append(items, r)
	}
	return nil, fmt.Errorf("listing %s: the answer has more than the %d bytes that are allowed", typ, maxList)
}

func decode(r *v1alpha1.Resource) (*Resource, error) {
	decoded, err := protobuf.Unmarshal(r)
	if err != nil {
		return nil, fmt.Errorf("decoding a resource: %w", err)
	}
	return decoded, nil
}
