// registry is an OCI registry in memory, for tests: what is pushed is gone when it ends.
//
// It listens on a free port of the loopback interface without TLS or passwords, prints its address, and ends when its
// standard input does, so that none outlives the test that started it.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	server := &http.Server{Handler: registry.New(quiet), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}
