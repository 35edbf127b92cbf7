// probe is the program in the pods of ../../test: one static file, so that the
// image needs nothing else.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve": // serve FOLDER TEXT: writes the text there, serves the folder
		if err := os.WriteFile(args[1]+"/hello.txt", []byte(args[2]+"\n"), 0o644); err != nil {
			return err
		}
		return http.ListenAndServe(":8080", http.FileServer(http.Dir(args[1])))
	case len(args) == 2 && args[0] == "get": // get URL
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(args[1])
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	case len(args) == 2 && args[0] == "env": // env NAME: prints it, and stays
		fmt.Println(os.Getenv(args[1]))
		time.Sleep(time.Hour)
		return nil
	}
	return fmt.Errorf("usage: serve FOLDER TEXT | get URL | env NAME")
}
