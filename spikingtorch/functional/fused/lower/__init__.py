"""Operations of torch become scalar expressions of the program."""
