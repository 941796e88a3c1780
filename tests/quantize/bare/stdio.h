/* All that a main of generated C asks of stdio.h, for machines without a C library; start.c has it. */
int getchar(void);
int putchar(int letter);
