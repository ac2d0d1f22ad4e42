"""Solutions of 04_vgg.ipynb: what fills its exercise cells."""

# 1. 225*(N - 4)**2 against 81*(N - 2)**2 + 81*(N - 4)**2: equal where 144*(N - 4)**2 = 81*(N - 2)**2,
# that is 4*(N - 4) = 3*(N - 2).
equal_at = 10


# 2. Deck 002: r = r + (k - 1)*j, then j = j*s.
def field_size(windows):
    size, jump = 1, 1
    for window, stride in windows:
        size, jump = size + (window - 1) * jump, jump * stride
    return size


# 3. Each adds 2 pixels to 1: 1 + 2*n >= 212.
how_many = 106

# 4. 553,430,176 / 60,950,432 = 9.08: nine pictures stay below.
pictures = 10

# 5. conv1_2: 224x224x64 numbers come in and as many go out.
most_in_use = 2 * 224 * 224 * 64 * 4
