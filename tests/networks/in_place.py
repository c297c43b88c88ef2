"""In-place operations as users write them: each a function of one tensor (2, 4, 9), which it may change itself."""

import torch
import torch.nn.functional as F


def sliced(x):
    y = x * 2
    y[:, 1:3].add_(1)
    return y


def slice_iadd(x):
    y = x * 2
    y[:, 1:3] += 1
    return y


def slice_imul_of_slice(x):
    y = x * 2
    y[:, 1:][:, ::2] *= 3
    return y


def setitem(x):
    y = x * 2
    y[:, 0] = x[:, 1]
    y[0, :, 2] = 5
    return y


def setitem_by_mask(x):
    y = x * 2
    y[y < 0] = 0.5
    return y


def chunked(x):
    y = x * 2
    first, second = y.chunk(2, 1)
    first.add_(second)
    return y, first, second


def split_and_written_in_turn(x):
    y = x * 2
    a, b = torch.split(y, [1, 3], 1)
    a += 1
    b[:, :, 0] = 0
    y[:, 0] *= 2
    return a, b


def unbound(x):
    y = x * 2
    for row in (y.unbind(1)[0], y.unbind(1)[2]):
        row.mul_(3)
    return y


def transposed(x):
    y = x * 2
    y.transpose(1, 2)[:, 0] = 1
    return y


def transposed_by_attribute(x):
    y = x * 2
    z = y.mT
    z += 1
    z[:, :, 0] *= 2
    return y


def view_read_after_a_write_to_the_base(x):
    y = x * 2
    flat = y.flatten(1)
    y.add_(1)
    return flat * 3


def view_of_a_view_read_after_a_write_to_a_sibling(x):
    y = x * 2
    a = y.view(2, 4, 9)
    b = a[:, 1:]
    y.view(2, 36)[:, 9:20] = 7
    return a, b


def iadd_on_alias(x):
    y = x * 2
    z = y
    z += 1
    return y


def in_place_chain_of_another_name(x):
    y = x * 2
    z = y.add_(1)
    z.mul_(2)
    return y + z


def masked_filled(x):
    y = x * 2
    y.masked_fill_(x > 0, -1.0)
    y[:, :2].masked_fill_(y[:, :2] < -0.5, 3.0)
    return y


def copied(x):
    y = x * 2
    y[:, 0].copy_(x[:, 3])
    y[:, 1].zero_()
    y[:, 2].fill_(2.0)
    return y


def relu_read_again(x):
    y = x * 2
    z = F.relu(y, inplace=True)
    return y + z


def relu_underscore(x):
    y = x * 2
    torch.relu_(y[:, 1:])
    return y


def on_the_input(x):
    x.add_(1)
    x[:, 0] = 0
    return x * 2


def on_reshape(x):
    y = x * 2
    y.reshape(2, -1).clamp_(min=0)
    return y


def on_a_reshape_that_copies(x):
    y = (x * 2).transpose(1, 2)
    z = y.reshape(2, -1)
    z.clamp_(min=0)
    return y, z


def copy_read_after_a_write_to_its_source(x):
    y = (x * 2).transpose(1, 2)
    copy = y.contiguous()
    y.zero_()
    return y, copy


def view_of_a_copy_written(x):
    y = (x * 2).transpose(1, 2)
    copy = y.contiguous()
    copy[:, 0].add_(1)
    return y, copy, copy.view(-1)


def conversion_that_changes_nothing(x):
    y = x * 2
    y.to(x.dtype).add_(1)
    y.type_as(x)[:, 0] = 4
    return y


def conversion_that_copies(x):
    y = x * 2
    z = y.double()
    y.add_(1)
    z.mul_(2)
    return y, z


def indexed_by_a_tensor(x):
    y = x * 2
    selection = y[:, torch.tensor([0, 2])]
    y.add_(1)
    selection.mul_(2)
    return y, selection


def on_flatten(x):
    y = x * 2
    torch.flatten(y, 1).mul_(2)
    return y


def through_dropout(x):
    y = x * 2
    F.dropout(y, 0.5, training=False).add_(1)
    return y


def transposed_in_place(x):
    y = x * 2
    rows = y[0]
    y.transpose_(1, 2)
    y[:, 0] = 1
    return y, rows, y.reshape(2, -1)


def squeezed_in_place(x):
    y = (x * 2)[:, :1]
    z = y.squeeze(1)
    y.squeeze_(1).add_(1)
    return y, z


def unsqueezed_in_place(x):
    y = x * 2
    part = y[:, 0]
    part.unsqueeze_(1)
    part += 1
    return y, part


def wider_type_added(x):
    y = x * 2
    y += torch.ones(9, dtype=torch.float64) / 3
    return y


def integer_arithmetic(x):
    y = (x * 4).long()
    y //= 3
    y **= 2
    y %= 5
    return y


def logic(x):
    y = x > 0
    y |= x < -1
    y ^= x < -2
    y &= x < 2
    return y


def diagonal(x):
    y = (x * 2)[:, :, :4]
    y.diagonal(dim1=1, dim2=2).zero_()
    return y


def expanded_and_unfolded(x):
    y = x * 2
    y.unfold(2, 3, 3)[..., 0].zero_()
    return y


def scattered(x):
    y = x * 2
    y.scatter_(1, torch.zeros(2, 1, 9, dtype=torch.long), 5.0)
    y.index_add_(1, torch.tensor([1]), x[:, :1])
    y.index_fill_(2, torch.tensor([3]), 0.25)
    return y


def interleaved(x):
    y = x * 2
    evens, odds = y[:, ::2], y[:, 1::2]
    evens += odds
    odds *= evens
    evens -= 1
    return torch.cat([evens, odds], 1) + y


def detached(x):
    y = x * 2
    y.detach().add_(1)
    y.data.mul_(2)
    return y


def flags_only(x):
    y = (x * 2).requires_grad_(False)
    return y.detach_() + 1


def fresh_buffer(x):
    y = torch.zeros(2, 4, 9, dtype=x.dtype)
    y[:, :2] = x[:, 2:]
    y[:, 2:].add_(x[:, :2])
    return y


def new_buffer_of_sizes(x):
    y = x.new_zeros(x.shape[0], x.size(1), x.shape[-1])
    y[..., : x.shape[-1] // 2] = x[..., : x.shape[-1] // 2]
    return y


def largest_of_what_changes_then(x):
    y = x * 2
    largest = y.max(1, keepdim=True)
    y.relu_()
    largest.values.mul_(3)
    return largest[0] + y


def smallest_and_where(x):
    values, places = torch.min(x, 2)
    return values + places


CASES = [value for value in list(globals().values()) if callable(value) and value.__module__ == __name__]
