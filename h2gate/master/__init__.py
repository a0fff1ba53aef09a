"""The parent process: supervise loop, signals, generations, sockets, scoreboard."""
