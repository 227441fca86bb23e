module example.org/seed

go 1.21

require (
	example.org/local v0.0.0
	rsc.io/quote v1.5.2
)

require (
	golang.org/x/text v0.14.0 // indirect
	rsc.io/sampler v1.3.0 // indirect
)

replace example.org/local => ./local
