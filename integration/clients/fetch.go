// Prints what HOST:PORT has under /hello.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	peer, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Fprint(peer, "GET /hello HTTP/1.0\r\n\r\n")
	io.Copy(os.Stdout, peer)
}
