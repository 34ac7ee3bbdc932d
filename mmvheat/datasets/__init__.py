from .digit_scenes import (
    check_digit_scenes,
    make_digit_scenes,
    verify_digit_scenes,
)

__all__ = ['check_digit_scenes', 'make_digit_scenes', 'verify_digit_scenes']
