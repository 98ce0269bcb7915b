// Package resource is what a node says about itself: typed resources in
// memory (State), served over gRPC (Server), and the Client that asks for them.
//
// The model and the wire format are those of COSI, the API behind "talosctl get": a
// resource has a namespace, a type, an id, a version and a spec, the types
// are described by resources too (ResourceDefinition), and the spec travels as
// YAML, for people, and as protobuf, for programs. The State here knows one type of
// its own, ExtensionStatus, and the Client knows none: it shows whatever a
// node, of graft or of Talos, describes.
//
// The Server speaks what Talos speaks in maintenance mode: TLS with a
// certificate made at start, no client certificate, reading only. It faces
// a network that nobody has vouched for, so it decodes no request that would
// write, and everything that a caller can make it hold has a limit.
package resource
